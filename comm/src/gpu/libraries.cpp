// SPDX-License-Identifier: Apache-2.0
#include "libraries.hpp"

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include "plugin_loader.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr const char* kDriver = "libcuda.so.1";

// Empty, or why the driver's library cannot be loaded.
std::string driver_error() {
  void* const driver = ::dlopen(kDriver, RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return ::dlerror();
  ::dlclose(driver);
  return {};
}

void require_driver() {
  const auto error = driver_error();
  if (error.empty()) return;
  throw UsageError(
      {.what = "opening a GPU",
       .why = fmt::format("no NVIDIA driver ({})", error),
       .fix = "run on the CPU, or where nvidia-smi lists GPUs; a container has to be given them (--gpus all)"});
}

void require_gpu(CudaApi& cuda) {
  int count = 0;
  const auto status = cuda.device_count(count);
  if (status == CudaStatus::success && count > 0) return;
  throw UsageError({.what = "opening a GPU",
                    .why = fmt::format("CUDA finds none{}",
                                       status == CudaStatus::success ? "" : fmt::format(" ({})", cuda.text(status))),
                    .fix = "look at what nvidia-smi lists and at CUDA_VISIBLE_DEVICES; the driver must be as new as "
                           "LibTorch's CUDA asks for"});
}

// LibTorch looks for its CUDA part when it is first asked for anything of CUDA, and never again.
void require_libtorch_knows() {
  if (at::detail::getCUDAHooks().hasCUDART()) return;
  throw UsageError({.what = "opening a GPU",
                    .why = "LibTorch was asked for CUDA before lockstep had loaded its CUDA part, and has settled that "
                           "this process has none",
                    .fix = "call lockstep::Gpu::open before torch::manual_seed, torch::cuda::is_available and whatever "
                           "else asks for CUDA"});
}

const Libraries& load() {
  require_driver();
  const auto& libraries = open_plugin(plugin_files());
  check_versions(libraries.nccl->versions());
  require_gpu(*libraries.cuda);
  require_libtorch_knows();
  return libraries;
}

std::string dotted(int version) { return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100); }

}  // namespace

const Libraries& load_libraries() {
  static const Libraries& libraries = load();
  return libraries;
}

bool driver_is_present() { return ::access("/dev/nvidiactl", F_OK) == 0 || driver_error().empty(); }

void check_versions(const NcclVersions& versions) {
  const auto minor = [](int version) { return version / 100; };  // 228 of 22809
  const bool one_library = minor(versions.loaded) == minor(versions.libtorch);
  if (one_library && minor(versions.headers) == minor(versions.loaded)) return;
  throw UsageError(
      {.what = "loading NCCL",
       .why = fmt::format("{} is NCCL {}, but {} was built with {}, and lockstep with {}", versions.loaded_path,
                          dotted(versions.loaded), versions.libtorch_path, dotted(versions.libtorch),
                          dotted(versions.headers)),
       .fix = one_library
                  ? fmt::format("build lockstep again with the nccl.h of {}, which cmake/bootstrap --gpu installs",
                                dotted(versions.loaded))
                  : "take the other NCCL out of LD_LIBRARY_PATH and LD_PRELOAD, so that the one is loaded that "
                    "LibTorch came with (cmake/bootstrap --gpu installs it)"});
}

}  // namespace lockstep::comm::gpu
