// SPDX-License-Identifier: Apache-2.0
// How communicators come and go.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <utility>

#include "fake_comm.hpp"
#include "fake_nccl.hpp"

namespace lockstep::test {

using comm::gpu::NcclComm;
using comm::gpu::NcclStatus;
using comm::gpu::UniqueId;

std::shared_ptr<Gathering> FakeNetwork::gathering(const std::string& key, std::size_t ranks) {
  const std::lock_guard lock(mutex_);
  auto& gathering = gatherings_[key];
  if (!gathering) {
    gathering = std::make_shared<Gathering>(ranks, ids_.fetch_add(static_cast<int>(ranks)));
  }
  return gathering;
}

FakeComm& FakeNccl::make() { return *comms_.emplace_back(std::make_unique<FakeComm>(static_cast<int>(comms_.size()))); }

NcclStatus FakeNccl::unique_id(UniqueId& id) {
  const int number = network_.next_id();
  id = {};
  std::memcpy(id.data(), &number, sizeof number);
  return NcclStatus::success;
}

NcclStatus FakeNccl::init(NcclComm& comm, int world_size, const UniqueId& id, int rank) {
  const std::lock_guard lock(mutex_);
  FakeComm& made = make();
  note("init", made);
  comm = handle(made);
  if (next_init_failure_) {
    made.job = later([status = *std::exchange(next_init_failure_, {})] { return status; });
    return NcclStatus::in_progress;
  }
  int number = 0;
  std::memcpy(&number, id.data(), sizeof number);
  const auto gathering =
      network_.gathering(fmt::format("init {} {}", number, world_size), static_cast<std::size_t>(world_size));
  const bool may_share = versions_.loaded >= comm::gpu::kVersionWithSharedGpus;
  gathering->arrive({.rank = rank, .key = rank, .uuid = may_share ? "" : uuid_()});
  made.job = later([&made, gathering, rank] { return seat(made, *gathering, rank); });
  return NcclStatus::in_progress;
}

// NCCL's own habit: the new handle is written when the parent is no longer in progress.
NcclStatus FakeNccl::make_together(FakeComm& parent, const std::shared_ptr<Gathering>& gathering, NcclComm& made) {
  FakeComm& child = make();
  made = nullptr;
  parent.job = later([&child, &made, gathering, rank = parent.rank] {
    const NcclStatus status = seat(child, *gathering, rank);
    if (status == NcclStatus::success && child.clique) made = handle(child);
    return status;
  });
  return NcclStatus::in_progress;
}

NcclStatus FakeNccl::seat(FakeComm& comm, Gathering& gathering, int rank) {
  const auto place = gathering.place(rank);
  if (!place) return NcclStatus::in_progress;
  comm.clique = place->clique;
  comm.rank = place->rank;
  comm.last_error = place->error;
  return place->status;
}

NcclStatus FakeNccl::shrink(NcclComm comm, std::span<const int> excluded, NcclComm& smaller) {
  const std::lock_guard lock(mutex_);
  FakeComm& parent = fake(comm);
  note("shrink", parent);
  if (versions_.loaded < comm::gpu::kVersionWithShrink) return NcclStatus::invalid_usage;
  if (parent.gone || !parent.clique) return NcclStatus::invalid_argument;
  parent.error = NcclStatus::success;  // its job's result takes that place
  parent.released = true;
  const auto gathering =
      network_.gathering(fmt::format("shrink {} {} {}", parent.clique->id, parent.children++, fmt::join(excluded, ",")),
                         static_cast<std::size_t>(parent.clique->size) - excluded.size());
  gathering->arrive({.rank = parent.rank, .key = parent.rank});
  return make_together(parent, gathering, smaller);
}

NcclStatus FakeNccl::split(NcclComm comm, int color, int key, NcclComm& part) {
  const std::lock_guard lock(mutex_);
  FakeComm& parent = fake(comm);
  note("split", parent);
  if (const NcclStatus status = usable(parent); status != NcclStatus::success) return status;
  const auto gathering = network_.gathering(fmt::format("split {} {}", parent.clique->id, parent.children++),
                                            static_cast<std::size_t>(parent.clique->size));
  gathering->arrive({.rank = parent.rank, .color = color, .key = key});
  return make_together(parent, gathering, part);
}

NcclStatus FakeNccl::finalize(NcclComm comm) {
  const std::lock_guard lock(mutex_);
  FakeComm& ending = fake(comm);
  note("finalize", ending);
  if (ending.gone) return NcclStatus::invalid_argument;
  ending.job = later([&ending] { return ending.running == 0 ? NcclStatus::success : NcclStatus::in_progress; });
  return NcclStatus::in_progress;
}

NcclStatus FakeNccl::destroy(NcclComm comm) {
  const std::lock_guard lock(mutex_);
  note("destroy", fake(comm));
  fake(comm).job = {};
  return std::exchange(fake(comm).gone, true) ? NcclStatus::invalid_argument : NcclStatus::success;
}

void FakeNccl::hang_if_told() {
  ++hanging_;
  wait_until([&] { return !abort_hangs_ || stopping_; });
  --hanging_;
}

NcclStatus FakeNccl::revoke(NcclComm comm) {
  {
    const std::lock_guard lock(mutex_);
    note("revoke", fake(comm));
    if (versions_.loaded < comm::gpu::kVersionWithRevoke) return NcclStatus::invalid_usage;
    if (fake(comm).gone) return NcclStatus::invalid_argument;
  }
  hang_if_told();
  const std::lock_guard lock(mutex_);
  FakeComm& revoked = fake(comm);
  revoked.released = true;
  revoked.revoked = true;
  revoked.error = NcclStatus::success;
  revoked.job = later([] { return NcclStatus::success; });
  return NcclStatus::in_progress;
}

NcclStatus FakeNccl::abort(NcclComm comm) {
  {
    const std::lock_guard lock(mutex_);
    note("abort", fake(comm));
    if (fake(comm).gone) return NcclStatus::invalid_argument;
  }
  hang_if_told();
  const std::lock_guard lock(mutex_);
  fake(comm).released = true;
  fake(comm).gone = true;
  fake(comm).job = {};
  return NcclStatus::success;
}

NcclStatus FakeNccl::async_error(NcclComm comm, NcclStatus& state) {
  const std::lock_guard lock(mutex_);
  FakeComm& asked = fake(comm);
  if (asked.gone) return NcclStatus::invalid_argument;
  if (asked.error == NcclStatus::success && asked.job) {
    const NcclStatus result = asked.job();
    if (result != NcclStatus::in_progress) {
      asked.job = {};
      asked.error = result;
    }
    state = result;
    return NcclStatus::success;
  }
  state = asked.error;
  return NcclStatus::success;
}

}  // namespace lockstep::test
