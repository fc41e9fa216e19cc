// SPDX-License-Identifier: Apache-2.0
#include "gpu/cuda_calls.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstddef>

namespace {

std::atomic<int> host_waits{0}, copies_to_host{0};

constexpr int kUnknownError = 999;      // cudaErrorUnknown
constexpr int kDeviceToHost = 2;        // cudaMemcpyDeviceToHost
constexpr int kDecidedByAddresses = 4;  // cudaMemcpyDefault: may be one

template <class Function>
Function* next(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {  // CUDA came with the plugin, whose libraries are not everybody's
    static void* const cuda = dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD);
    found = cuda == nullptr ? nullptr : dlsym(cuda, name);
  }
  return reinterpret_cast<Function*>(found);
}

template <class Function, class... Arguments>
int pass_on(const char* name, Arguments... arguments) {
  auto* const function = next<Function>(name);
  return function == nullptr ? kUnknownError : function(arguments...);
}

}  // namespace

// As CUDA declares them, in types of our own: this file is compiled without CUDA's headers, too.
extern "C" {

int cudaStreamSynchronize(void* stream);
int cudaDeviceSynchronize();
int cudaEventSynchronize(void* event);
int cudaMemcpy(void* to, const void* from, std::size_t bytes, int kind);
int cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int kind, void* stream);

int cudaStreamSynchronize(void* stream) {
  ++host_waits;
  return pass_on<int(void*)>("cudaStreamSynchronize", stream);
}
int cudaDeviceSynchronize() {
  ++host_waits;
  return pass_on<int()>("cudaDeviceSynchronize");
}
int cudaEventSynchronize(void* event) {
  ++host_waits;
  return pass_on<int(void*)>("cudaEventSynchronize", event);
}
int cudaMemcpy(void* to, const void* from, std::size_t bytes, int kind) {
  ++host_waits;
  return pass_on<int(void*, const void*, std::size_t, int)>("cudaMemcpy", to, from, bytes, kind);
}
int cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int kind, void* stream) {
  if (kind == kDeviceToHost || kind == kDecidedByAddresses) ++copies_to_host;
  return pass_on<int(void*, const void*, std::size_t, int, void*)>("cudaMemcpyAsync", to, from, bytes, kind, stream);
}

}  // extern "C"

lockstep::testing::CudaCalls lockstep::testing::cuda_calls() { return {host_waits.load(), copies_to_host.load()}; }
