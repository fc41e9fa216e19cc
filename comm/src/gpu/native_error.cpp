// SPDX-License-Identifier: Apache-2.0
#include "native_error.hpp"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

namespace lockstep::comm::gpu {

namespace {

// What is behind a status, where we know it, and one thing to do. The first row that fits is taken.
struct Known {
  int status;
  std::string_view contains;  // in the call or in the library's last error; empty: whatever they say
  std::string_view cause;
  std::string_view fix;
};

constexpr std::string_view kAskNccl = "run with NCCL_DEBUG=WARN, which prints what NCCL has refused";

constexpr Known kCuda[] = {
    {2, "cudaHostAlloc", "the host has no more memory that can be locked",
     "raise the memory of the job or container, or start fewer ranks on this host"},
    {2, "", "the GPU has no room left",
     "take smaller micro-batches, or end the other processes that nvidia-smi shows on this GPU"},
    {3, "", "the driver could not start", "run nvidia-smi on this host; if it fails too, the driver needs repair"},
    {35, "", "the driver is older than this CUDA", "install a newer driver, or a LibTorch for an older CUDA"},
    {46, "", "another process holds the GPU alone, or its mode forbids use",
     "look at `nvidia-smi -q -d COMPUTE` and at who runs on it"},
    {100, "", "the driver shows no GPU to this process",
     "look at CUDA_VISIBLE_DEVICES, and at what the job or container was given"},
    {101, "", "the process sees no GPU of this number",
     "look at CUDA_VISIBLE_DEVICES, and at what the launcher gives to a rank (docs/gpus.md)"},
    {209, "", "the kernels were not compiled for this GPU",
     "compile lockstep for its architecture: CMAKE_CUDA_ARCHITECTURES (docs/gpus.md)"},
    {214, "", "the GPU's memory has an error that it could not correct",
     "take this GPU out of the job; `nvidia-smi -q -d ECC` counts the errors"},
    {700, "", "a kernel used memory that is not its own; the call that failed is perhaps not the one at fault",
     "run with CUDA_LAUNCH_BLOCKING=1, or under compute-sanitizer, to find the kernel"},
    {719, "", "a kernel failed; the call that failed is perhaps not the one at fault",
     "run with CUDA_LAUNCH_BLOCKING=1, or under compute-sanitizer, to find the kernel"},
    {802, "", "the switches between the GPUs are not ready", "start nvidia-fabricmanager on this host"},
    {900, "", "the stream is being captured into a CUDA graph",
     "make this call before the capture: allocate and open communicators in a warm-up step"},
};

constexpr Known kNccl[] = {
    {1, "", "a CUDA call failed in NCCL, or a kernel before it did",
     "look for the first CUDA error of this rank, with CUDA_LAUNCH_BLOCKING=1 and NCCL_DEBUG=INFO"},
    {2, "shm", "shared memory could not be made or attached",
     "make /dev/shm larger (docker: --shm-size=1g), or set NCCL_SHM_DISABLE=1; `df -h /dev/shm` shows its room"},
    {2, "No space left", "/dev/shm is full",
     "make /dev/shm larger (docker: --shm-size=1g), or set NCCL_SHM_DISABLE=1; `df -h /dev/shm` shows its room"},
    {2, "", "a network interface that the other hosts cannot reach, or a full /dev/shm",
     "set NCCL_SOCKET_IFNAME to the interface between the hosts, look at `df -h /dev/shm`, and run with "
     "NCCL_DEBUG=INFO, which names what failed"},
    {3, "", "a fault in NCCL, or of a peer that it did not recognise",
     "look at the other ranks' messages first, then run with NCCL_DEBUG=INFO"},
    {4, "", "a call that NCCL does not take", kAskNccl},
    {5, "Duplicate GPU", "two ranks use the same GPU",
     "give each rank a GPU of its own, or see docs/gpus.md (several ranks on one GPU)"},
    {5, "same GPU", "two ranks use the same GPU",
     "give each rank a GPU of its own, or see docs/gpus.md (several ranks on one GPU)"},
    {5, "", "a call that NCCL does not take in its state", kAskNccl},
    {6, "", "another rank has failed or lost its network",
     "look at the messages of the other ranks: the one that is no remote error came first"},
};

const Known* find(std::span<const Known> table, int status, std::string_view said) {
  for (const Known& row : table) {
    if (row.status == status && said.find(row.contains) != std::string_view::npos) return &row;
  }
  return nullptr;
}

// `said`: "call: the library's own words".
Failure failure_of(std::string said, const Known* known) {
  if (known == nullptr) return {.kind = FailureKind::native, .why = std::move(said)};
  return {
      .kind = FailureKind::native, .why = fmt::format("{} ({})", said, known->cause), .fix = std::string(known->fix)};
}

void add_place(Failure& failure, const std::source_location& where) {
  const std::string_view path = where.file_name();
  failure.why += fmt::format(", at {}:{}", path.substr(path.rfind('/') + 1), where.line());
}

}  // namespace

void check(const CudaApi& cuda, CudaStatus status, const char* call, std::source_location where) {
  if (status == CudaStatus::success) return;
  const int number = static_cast<int>(status);
  Failure failure =
      failure_of(fmt::format("{}: {}, error {}", call, cuda.text(status), number), find(kCuda, number, call));
  add_place(failure, where);
  throw BackendFailure{failure};
}

void check(const NcclApi& nccl, NcclComm comm, NcclStatus status, const char* call, std::source_location where) {
  if (status == NcclStatus::success || status == NcclStatus::in_progress) return;
  Failure failure = nccl_failure(nccl, comm, status, call);
  add_place(failure, where);
  throw BackendFailure{failure};
}

Failure nccl_failure(const NcclApi& nccl, NcclComm comm, NcclStatus status, const char* call) {
  const int number = static_cast<int>(status);
  const std::string last = nccl.last_error(comm);
  Failure failure = failure_of(fmt::format("{}: {}, error {}{}{}", call, nccl.text(status), number,
                                           last.empty() ? "" : "; NCCL's last error: ", last),
                               find(kNccl, number, last));
  if (status == NcclStatus::remote_error) failure.kind = FailureKind::peer_died;  // this rank is a victim
  return failure;
}

}  // namespace lockstep::comm::gpu
