// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lockstep/base/error.hpp"
#include "native_error.hpp"

namespace lockstep::comm::gpu {

namespace {

double gib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

const Libraries& checked(const Libraries& libraries, int index) {
  if (libraries.nccl != nullptr) check_versions(libraries.nccl->versions());
  int count = 0;
  check(*libraries.cuda, libraries.cuda->device_count(count), "cudaGetDeviceCount");
  if (index >= 0 && index < count) return libraries;
  throw UsageError({.what = fmt::format("GPU {}", index),
                    .why = fmt::format("this process sees {} GPU{}, numbered from 0", count, count == 1 ? "" : "s"),
                    .fix = "set CUDA_VISIBLE_DEVICES, or what the launcher gives to a rank (docs/gpus.md)"});
}

}  // namespace

Device::Device(const Libraries& libraries, int index)
    : libraries_(checked(libraries, index)), index_(index), events_(*libraries.cuda) {
  check(cuda(), cuda().bind(index), "cudaSetDevice");
  check(cuda(), cuda().facts(index, facts_), "cudaGetDeviceProperties");
}

Watchdog& Device::watchdog() {
  if (!watchdog_) watchdog_ = std::make_unique<Watchdog>();
  return *watchdog_;
}

std::shared_ptr<std::byte> Device::allocate(std::size_t bytes) {
  if (cuda().capturing(cuda().current_stream(index_))) {
    throw UsageError({.what = fmt::format("allocate {} bytes on GPU {}", bytes, index_),
                      .why = "a CUDA graph is captured, which would zero the memory at each replay and not now",
                      .fix = "allocate before the capture begins"});
  }
  std::byte* memory = nullptr;
  const CudaStatus status = cuda().allocate(memory, std::max<std::size_t>(bytes, 1));
  if (status != CudaStatus::success) {
    const std::string call = fmt::format("cudaMalloc of {} bytes ({:.2f} GiB) on GPU {} ({}, {:.1f} GiB)", bytes,
                                         gib(bytes), index_, facts_.name, gib(facts_.memory_bytes));
    check(cuda(), status, call.c_str());
  }
  std::shared_ptr<std::byte> owner(
      memory, [cuda = libraries_.cuda](std::byte* freed) { static_cast<void>(cuda->free(freed)); });
  check(cuda(), cuda().fill_zero(memory, bytes, cuda().current_stream(index_)), "cudaMemsetAsync");
  return owner;
}

std::shared_ptr<std::byte> Device::allocate_pinned(std::size_t bytes) {
  std::byte* memory = nullptr;
  const CudaStatus status = cuda().allocate_pinned(memory, std::max<std::size_t>(bytes, 1));
  if (status != CudaStatus::success) {
    const std::string call =
        fmt::format("cudaHostAlloc of {} bytes ({:.2f} GiB) of the host's memory", bytes, gib(bytes));
    check(cuda(), status, call.c_str());
  }
  std::memset(memory, 0, bytes);
  return {memory, [cuda = libraries_.cuda](std::byte* freed) { static_cast<void>(cuda->free_pinned(freed)); }};
}

}  // namespace lockstep::comm::gpu
