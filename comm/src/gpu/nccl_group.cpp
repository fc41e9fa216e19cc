// SPDX-License-Identifier: Apache-2.0
#include "nccl_group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "../missing_ranks.hpp"
#include "native_error.hpp"
#include "watchdog.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr auto kRoundPause = std::chrono::milliseconds(1);

// How far a rank is in a call that all make together.
struct Progress {
  enum class Stage : std::int32_t { under_way, done, late, failed };
  Stage stage = Stage::under_way;
  std::array<char, 252> text{};  // of the failure
};

Progress failed_with(const NcclApi& nccl, NcclComm comm, NcclStatus status) {
  Progress progress{.stage = Progress::Stage::failed};
  std::string text = nccl.text(status);
  if (const std::string detail = nccl.last_error(comm); !detail.empty()) text += fmt::format(" ({})", detail);
  std::copy_n(text.begin(), std::min(text.size(), progress.text.size() - 1), progress.text.begin());
  return progress;
}

// A call under way on `polled`, whose own return value was `begun`.
Progress look(NcclApi& nccl, NcclComm polled, NcclStatus begun, bool late) {
  NcclStatus status = begun;
  if (status == NcclStatus::success || status == NcclStatus::in_progress) {
    if (const NcclStatus asked = nccl.async_error(polled, status); asked != NcclStatus::success) status = asked;
  }
  if (status == NcclStatus::success) return {.stage = Progress::Stage::done};
  if (status != NcclStatus::in_progress) return failed_with(nccl, polled, status);
  return {.stage = late ? Progress::Stage::late : Progress::Stage::under_way};
}

std::vector<int> ranks_at(const std::vector<Progress>& all, Progress::Stage stage) {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].stage == stage) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

void throw_if_any_failed(const HostCalls& host, const std::vector<Progress>& all, const char* call) {
  constexpr const char* kFix =
      "NCCL_DEBUG=INFO prints what NCCL tried; see docs/gpus.md for its network settings and for ranks that share a "
      "GPU";
  if (const auto failed = ranks_at(all, Progress::Stage::failed); !failed.empty()) {
    const auto first = static_cast<std::size_t>(failed.front());
    throw BackendFailure{{.kind = FailureKind::native,
                          .why = fmt::format("{} failed on {}: {}", call, names_of(failed, host.backend().peers()),
                                             all[first].text.data()),
                          .fix = kFix,
                          .culprit = failed.front()}};
  }
  if (const auto late = ranks_at(all, Progress::Stage::late); !late.empty()) {
    throw BackendFailure{{.kind = FailureKind::timeout,
                          .why = fmt::format("{} had not ended after {:.1f} s on {}", call,
                                             host.timeout().count() / 1000.0, names_of(late, host.backend().peers())),
                          .fix = kFix,
                          .culprit = late.front()}};
  }
}

// Collective. Returns when what all have begun is done on all.
void finish_together(HostCalls& host, NcclApi& nccl, NcclComm polled, NcclStatus begun, const char* call) {
  const auto deadline = Clock::now() + host.timeout();
  while (true) {
    const auto all = host.all_gather(look(nccl, polled, begun, Clock::now() > deadline));
    throw_if_any_failed(host, all, call);
    if (ranks_at(all, Progress::Stage::done).size() == all.size()) return;
    std::this_thread::sleep_for(kRoundPause);
  }
}

// `make(made)` makes a communicator out of `parent`, which is asked for how far it is.
NcclComm make_from(HostCalls& host, NcclApi& nccl, NcclComm parent, const char* call,
                   const std::function<NcclStatus(NcclComm&)>& make) {
  auto made = std::make_unique<NcclComm>(nullptr);
  try {
    finish_together(host, nccl, parent, make(*made), call);
  } catch (const BackendFailure&) {
    (void)made.release();  // NCCL's own thread may still write there
    throw;
  }
  return *made;
}

}  // namespace

NcclComm make_nccl_comm(HostCalls& host, NcclApi& nccl) {
  const Backend& ranks = host.backend();
  struct {
    UniqueId id{};
    Progress progress{.stage = Progress::Stage::done};
  } first;
  if (ranks.rank() == 0) {
    const NcclStatus status = nccl.unique_id(first.id);
    if (status != NcclStatus::success) first.progress = failed_with(nccl, nullptr, status);
  }
  host.broadcast(first, 0);
  throw_if_any_failed(host, {first.progress}, "ncclGetUniqueId");
  auto comm = std::make_unique<NcclComm>(nullptr);
  const NcclStatus begun = nccl.init(*comm, ranks.world_size(), first.id, ranks.rank());
  const NcclComm made = *comm;
  try {
    finish_together(host, nccl, made, begun, "ncclCommInitRankConfig");
  } catch (const BackendFailure&) {
    (void)comm.release();  // NCCL's own thread may still write there
    if (made != nullptr) abandon_nccl_comm(nccl, made);
    throw;
  }
  return made;
}

NcclComm split_nccl_comm(HostCalls& host, NcclApi& nccl, NcclComm comm, int color, int key) {
  return make_from(host, nccl, comm, "ncclCommSplit",
                   [&](NcclComm& part) { return nccl.split(comm, color < 0 ? -1 : color, key, part); });
}

NcclComm shrink_nccl_comm(HostCalls& host, NcclApi& nccl, NcclComm comm, std::span<const int> excluded) {
  return make_from(host, nccl, comm, "ncclCommShrink",
                   [&](NcclComm& smaller) { return nccl.shrink(comm, excluded, smaller); });
}

void close_nccl_comm(NcclApi& nccl, NcclComm comm, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  NcclStatus status = nccl.finalize(comm);
  check(nccl, comm, status, "ncclCommFinalize");
  while (status == NcclStatus::in_progress && Clock::now() < deadline) {
    check(nccl, comm, nccl.async_error(comm, status), "ncclCommGetAsyncError");
    if (status == NcclStatus::in_progress) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  check(nccl, comm, status, "ncclCommFinalize");
  if (status == NcclStatus::in_progress) return abandon_nccl_comm(nccl, comm);  // a peer died while closing
  check(nccl, nullptr, nccl.destroy(comm), "ncclCommDestroy");
}

void abandon_nccl_comm(NcclApi& nccl, NcclComm comm) noexcept {
  try {
    auto ended = std::make_shared<std::promise<void>>();
    const std::future<void> end = ended->get_future();
    std::thread([&nccl, comm, ended] {
      (void)nccl.abort(comm);
      ended->set_value();
    }).detach();
    end.wait_for(WatchedComm::kAbortDeadline);
  } catch (...) {  // no thread to be had: it stays
  }
}

}  // namespace lockstep::comm::gpu
