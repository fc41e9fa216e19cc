// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "cuda_api.hpp"

// What lockstep asks of NCCL, one to one: narrow, so that all that is decided above it runs in tests without a GPU.
namespace lockstep::comm::gpu {

struct NcclHandle;
using NcclComm = NcclHandle*;  // an ncclComm_t
using UniqueId = std::array<std::byte, 128>;

// ncclResult_t's own numbers.
enum class NcclStatus : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
};

// Which NCCL is where. Numbers as NCCL_VERSION_CODE: 22809 is 2.28.9.
struct NcclVersions {
  int headers = 0;   // that lockstep was compiled with
  int loaded = 0;    // of the library in this process
  int libtorch = 0;  // that libtorch_cuda was compiled with
  std::string loaded_path{};
  std::string libtorch_path{};
};

inline constexpr int kVersionWithShrink = 22700;
inline constexpr int kVersionWithRevoke = 22807;
inline constexpr int kVersionWithSharedGpus = 23000;  // NCCL_MULTI_RANK_GPU_ENABLE

// Communicators are made non-blocking: calls on them may return in_progress, and async_error() tells when they are
// done; until then no other call may be made on them, and nothing recorded behind them: the launch has perhaps not
// reached its stream. Elements of dtypes that NCCL lacks travel as others of their size; reductions of those it
// refuses.
class NcclApi {
 public:
  virtual ~NcclApi() = default;
  [[nodiscard]] virtual const NcclVersions& versions() const = 0;
  [[nodiscard]] virtual std::string text(NcclStatus status) const = 0;     // "ncclSystemError: unhandled system error"
  [[nodiscard]] virtual std::string last_error(NcclComm comm) const = 0;   // of the library; null: of this thread
  [[nodiscard]] virtual bool reduces(DType dtype, ReduceOp op) const = 0;  // whether NCCL has this reduction

  [[nodiscard]] virtual NcclStatus unique_id(UniqueId& id) = 0;
  [[nodiscard]] virtual NcclStatus init(NcclComm& comm, int world_size, const UniqueId& id, int rank) = 0;
  // From kVersionWithShrink on; `comm` has failed or was revoked. Called by those that are not excluded. NCCL writes
  // `smaller`, like split's `part`, only when it is done, from a thread of its own: the variable must live until
  // async_error(comm) is no longer in_progress.
  [[nodiscard]] virtual NcclStatus shrink(NcclComm comm, std::span<const int> excluded, NcclComm& smaller) = 0;
  [[nodiscard]] virtual NcclStatus split(NcclComm comm, int color, int key, NcclComm& part) = 0;  // color −1: none
  [[nodiscard]] virtual NcclStatus finalize(NcclComm comm) = 0;
  [[nodiscard]] virtual NcclStatus destroy(NcclComm comm) = 0;
  [[nodiscard]] virtual NcclStatus revoke(NcclComm comm) = 0;  // from kVersionWithRevoke on
  [[nodiscard]] virtual NcclStatus abort(NcclComm comm) = 0;   // may hang in faulty drivers: from a thread of its own
  [[nodiscard]] virtual NcclStatus async_error(NcclComm comm, NcclStatus& state) = 0;

  [[nodiscard]] virtual NcclStatus group_start() = 0;
  [[nodiscard]] virtual NcclStatus group_end() = 0;

  // In place where input == output; reduce_scatter and all_gather: where the one is this rank's part of the other.
  // `elements`: of these two, those of one rank's part.
  [[nodiscard]] virtual NcclStatus all_reduce(const void* input, void* output, std::size_t elements, DType dtype,
                                              ReduceOp op, NcclComm comm, Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus reduce(const void* input, void* output, std::size_t elements, DType dtype,
                                          ReduceOp op, int root, NcclComm comm, Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus reduce_scatter(const void* input, void* output, std::size_t elements, DType dtype,
                                                  ReduceOp op, NcclComm comm, Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus broadcast(const void* input, void* output, std::size_t elements, DType dtype,
                                             int root, NcclComm comm, Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus all_gather(const void* input, void* output, std::size_t elements, DType dtype,
                                              NcclComm comm, Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus send(const void* input, std::size_t elements, DType dtype, int to, NcclComm comm,
                                        Stream stream) = 0;
  [[nodiscard]] virtual NcclStatus receive(void* output, std::size_t elements, DType dtype, int from, NcclComm comm,
                                           Stream stream) = 0;
};

}  // namespace lockstep::comm::gpu
