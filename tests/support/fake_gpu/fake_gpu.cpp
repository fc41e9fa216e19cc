// SPDX-License-Identifier: Apache-2.0
#include "fake_gpu.hpp"

#include "fake_cuda.hpp"
#include "fake_nccl.hpp"

namespace lockstep::test {

namespace {

constexpr int kVersion = 22809;

struct Rank {
  Rank(FakeNetwork& network, int rank) : cuda(rank), nccl(network, [this] { return cuda.uuid(); }), graphs(cuda) {
    libraries = {.cuda = &cuda, .nccl = &nccl, .graphs = &graphs, .device_type = c10::DeviceType::CPU};
  }
  FakeCuda cuda;
  FakeNccl nccl;
  FakeGraphs graphs;
  comm::gpu::Libraries libraries;
};

}  // namespace

struct FakeGpus::Impl {
  FakeNetwork network;
  std::vector<std::unique_ptr<Rank>> ranks;
  Rank& of(int rank) { return *ranks.at(static_cast<std::size_t>(rank)); }
};

FakeGpus::FakeGpus(int ranks) : impl_(std::make_unique<Impl>()) {
  for (int rank = 0; rank < ranks; ++rank) impl_->ranks.push_back(std::make_unique<Rank>(impl_->network, rank));
  set_version(kVersion);
}

FakeGpus::~FakeGpus() {
  for (const auto& rank : impl_->ranks) rank->nccl.stop();
  for (const auto& rank : impl_->ranks) rank->cuda.stop();  // before any NCCL goes, whose communicators streams use
}

const comm::gpu::Libraries& FakeGpus::libraries(int rank) { return impl_->of(rank).libraries; }

void FakeGpus::set_version(int version) {
  set_versions({.headers = version,
                .loaded = version,
                .libtorch = version,
                .loaded_path = "/fake/libnccl.so.2",
                .libtorch_path = "/fake/libtorch_cuda.so"});
}

void FakeGpus::set_versions(const comm::gpu::NcclVersions& versions) {
  for (const auto& rank : impl_->ranks) rank->nccl.set_versions(versions);
}

void FakeGpus::set_uuid(int rank, const std::string& uuid) { impl_->of(rank).cuda.set_uuid(uuid); }
void FakeGpus::remove_kernels(int rank) { impl_->of(rank).cuda.remove_kernels(); }
void FakeGpus::remove_nccl(int rank) { impl_->of(rank).libraries.nccl = nullptr; }

void FakeGpus::run_default_streams_on_caller() {
  for (const auto& rank : impl_->ranks) rank->cuda.run_default_stream_on_caller();
}

void FakeGpus::fail_next_init(int rank, comm::gpu::NcclStatus status) { impl_->of(rank).nccl.fail_next_init(status); }
void FakeGpus::set_async_error(int rank, comm::gpu::NcclStatus status) { impl_->of(rank).nccl.set_async_error(status); }
void FakeGpus::set_last_error(int rank, const std::string& text) { impl_->of(rank).nccl.set_last_error(text); }
void FakeGpus::hold_streams(int rank, bool hold) { impl_->of(rank).cuda.hold_streams(hold); }
void FakeGpus::make_abort_hang(int rank, bool hang) { impl_->of(rank).nccl.make_abort_hang(hang); }
void FakeGpus::fail_allocations(int rank, bool fail) { impl_->of(rank).cuda.fail_allocations(fail); }

std::vector<std::string> FakeGpus::nccl_calls(int rank) const { return impl_->of(rank).nccl.calls(); }
int FakeGpus::events_alive(int rank) const { return impl_->of(rank).cuda.events_alive(); }
int FakeGpus::blocks_alive(int rank) const { return impl_->of(rank).cuda.blocks_alive(); }
int FakeGpus::host_waits(int rank) const { return impl_->of(rank).cuda.host_waits(); }

bool FakeGpus::synchronize(int rank, std::chrono::milliseconds deadline) {
  return impl_->of(rank).cuda.synchronize(deadline);
}

}  // namespace lockstep::test
