// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <nccl.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "real_apis.hpp"

// Its header needs those of cuBLAS and cuSPARSE, which need not be installed.
namespace torch::cuda::nccl {
std::uint64_t version();  // 0x2001c0009 is 2.28.9
}

namespace lockstep::comm::gpu {
namespace {

ncclComm_t native(NcclComm comm) { return reinterpret_cast<ncclComm_t>(comm); }
// NCCL may write there later, so it gets the caller's own variable.
ncclComm_t* native(NcclComm* comm) { return reinterpret_cast<ncclComm_t*>(comm); }
cudaStream_t native(Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }
NcclStatus status_of(ncclResult_t result) { return static_cast<NcclStatus>(result); }

// Of the same size, where NCCL has no such type.
ncclDataType_t native(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return ncclFloat64;
    case DType::float32:
      return ncclFloat32;
    case DType::float16:
      return ncclFloat16;
    case DType::bfloat16:
      return ncclBfloat16;
    case DType::int64:
      return ncclInt64;
    case DType::int32:
      return ncclInt32;
    case DType::int16:
      return ncclFloat16;
    case DType::int8:
      return ncclInt8;
    case DType::uint8:
      return ncclUint8;
    case DType::boolean:
      return ncclUint8;
  }
  return ncclNumTypes;  // which NCCL refuses
}

ncclRedOp_t native(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return ncclSum;
    case ReduceOp::avg:
      return ncclAvg;
    case ReduceOp::min:
      return ncclMin;
    case ReduceOp::max:
      return ncclMax;
    case ReduceOp::prod:
      return ncclProd;
    case ReduceOp::bit_and:
    case ReduceOp::bit_or:
    case ReduceOp::bit_xor:
      break;
  }
  return ncclNumOps;  // which NCCL refuses
}

// What NCCL has under the names of ours: its min and max of floats lose a NaN (fminf), ours keep it.
bool has_reduction(DType dtype, ReduceOp op) {
  const bool floats =
      dtype == DType::float64 || dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16;
  if (dtype == DType::boolean || dtype == DType::int16) return false;
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::prod:
      return true;
    case ReduceOp::avg:
      return floats;
    case ReduceOp::min:
    case ReduceOp::max:
      return !floats;
    case ReduceOp::bit_and:
    case ReduceOp::bit_or:
    case ReduceOp::bit_xor:
      break;
  }
  return false;
}

const char* name_of(NcclStatus status) {
  switch (status) {
    case NcclStatus::success:
      return "ncclSuccess";
    case NcclStatus::unhandled_cuda_error:
      return "ncclUnhandledCudaError";
    case NcclStatus::system_error:
      return "ncclSystemError";
    case NcclStatus::internal_error:
      return "ncclInternalError";
    case NcclStatus::invalid_argument:
      return "ncclInvalidArgument";
    case NcclStatus::invalid_usage:
      return "ncclInvalidUsage";
    case NcclStatus::remote_error:
      return "ncclRemoteError";
    case NcclStatus::in_progress:
      return "ncclInProgress";
  }
  return "an error that is newer than lockstep";
}

std::string file_of(const void* function) {
  Dl_info info{};
  return dladdr(function, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "?";
}

NcclVersions find_versions() {
  NcclVersions versions{.headers = NCCL_VERSION_CODE};
  (void)ncclGetVersion(&versions.loaded);
  const auto libtorch = torch::cuda::nccl::version();
  versions.libtorch =
      static_cast<int>((libtorch >> 32U) * 10000 + ((libtorch >> 16U) & 0xffffU) * 100 + (libtorch & 0xffffU));
  versions.loaded_path = file_of(reinterpret_cast<const void*>(&ncclGetVersion));
  versions.libtorch_path = file_of(reinterpret_cast<const void*>(&torch::cuda::nccl::version));
  return versions;
}

class RealNccl final : public NcclApi {
 public:
  const NcclVersions& versions() const override { return versions_; }
  std::string text(NcclStatus status) const override {
    return std::string(name_of(status)) + ": " + ncclGetErrorString(static_cast<ncclResult_t>(status));
  }
  std::string last_error(NcclComm comm) const override {
    const char* const error = ncclGetLastError(native(comm));
    return error != nullptr ? error : "";
  }
  bool reduces(DType dtype, ReduceOp op) const override { return has_reduction(dtype, op); }

  NcclStatus unique_id(UniqueId& id) override {
    ncclUniqueId created{};
    const auto result = ncclGetUniqueId(&created);
    std::memcpy(id.data(), &created, id.size());
    return status_of(result);
  }
  NcclStatus init(NcclComm& comm, int world_size, const UniqueId& id, int rank) override {
    ncclUniqueId native_id{};
    static_assert(sizeof(native_id) == sizeof(UniqueId));
    std::memcpy(&native_id, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return status_of(ncclCommInitRankConfig(native(&comm), world_size, native_id, rank, &config));
  }
  NcclStatus shrink([[maybe_unused]] NcclComm comm, [[maybe_unused]] std::span<const int> excluded,
                    [[maybe_unused]] NcclComm& smaller) override {
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    std::vector<int> ranks(excluded.begin(), excluded.end());
    return status_of(ncclCommShrink(native(comm), ranks.data(), static_cast<int>(ranks.size()), native(&smaller),
                                    nullptr, NCCL_SHRINK_ABORT));
#else
    return NcclStatus::invalid_usage;
#endif
  }
  NcclStatus split(NcclComm comm, int color, int key, NcclComm& part) override {
    return status_of(ncclCommSplit(native(comm), color, key, native(&part), nullptr));
  }
  NcclStatus finalize(NcclComm comm) override { return status_of(ncclCommFinalize(native(comm))); }
  NcclStatus destroy(NcclComm comm) override { return status_of(ncclCommDestroy(native(comm))); }
  NcclStatus revoke([[maybe_unused]] NcclComm comm) override {
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 7)
    return status_of(ncclCommRevoke(native(comm), NCCL_REVOKE_DEFAULT));
#else
    return NcclStatus::invalid_usage;
#endif
  }
  NcclStatus abort(NcclComm comm) override { return status_of(ncclCommAbort(native(comm))); }
  NcclStatus async_error(NcclComm comm, NcclStatus& state) override {
    ncclResult_t found = ncclSuccess;
    const auto result = ncclCommGetAsyncError(native(comm), &found);
    state = status_of(found);
    return status_of(result);
  }

  NcclStatus group_start() override { return status_of(ncclGroupStart()); }
  NcclStatus group_end() override { return status_of(ncclGroupEnd()); }

  NcclStatus all_reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op, NcclComm comm,
                        Stream stream) override {
    if (!has_reduction(dtype, op)) return NcclStatus::invalid_argument;
    return status_of(ncclAllReduce(input, output, elements, native(dtype), native(op), native(comm), native(stream)));
  }
  NcclStatus reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op, int root,
                    NcclComm comm, Stream stream) override {
    if (!has_reduction(dtype, op)) return NcclStatus::invalid_argument;
    return status_of(
        ncclReduce(input, output, elements, native(dtype), native(op), root, native(comm), native(stream)));
  }
  NcclStatus reduce_scatter(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op,
                            NcclComm comm, Stream stream) override {
    if (!has_reduction(dtype, op)) return NcclStatus::invalid_argument;
    return status_of(
        ncclReduceScatter(input, output, elements, native(dtype), native(op), native(comm), native(stream)));
  }
  NcclStatus broadcast(const void* input, void* output, std::size_t elements, DType dtype, int root, NcclComm comm,
                       Stream stream) override {
    return status_of(ncclBroadcast(input, output, elements, native(dtype), root, native(comm), native(stream)));
  }
  NcclStatus all_gather(const void* input, void* output, std::size_t elements, DType dtype, NcclComm comm,
                        Stream stream) override {
    return status_of(ncclAllGather(input, output, elements, native(dtype), native(comm), native(stream)));
  }
  NcclStatus send(const void* input, std::size_t elements, DType dtype, int to, NcclComm comm, Stream stream) override {
    return status_of(ncclSend(input, elements, native(dtype), to, native(comm), native(stream)));
  }
  NcclStatus receive(void* output, std::size_t elements, DType dtype, int from, NcclComm comm, Stream stream) override {
    return status_of(ncclRecv(output, elements, native(dtype), from, native(comm), native(stream)));
  }

 private:
  const NcclVersions versions_ = find_versions();
};

}  // namespace

NcclApi& real_nccl() {
  static auto* const nccl = new RealNccl;
  return *nccl;
}

}  // namespace lockstep::comm::gpu
