// SPDX-License-Identifier: Apache-2.0
#include "mpi_backend.hpp"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "../number_nodes.hpp"
#include "../peer_watch.hpp"
#include "exchange_records.hpp"
#include "mpi_check.hpp"
#include "mpi_message.hpp"
#include "mpi_reduction.hpp"
#include "native_handles.hpp"

namespace lockstep::comm::mpi {
namespace {

constexpr auto kNoticePeriod = std::chrono::microseconds(100);  // between two looks for a peer that gave up
constexpr auto kWatchPeriod = std::chrono::milliseconds(1);     // and for one that died

void pause_waiting(std::chrono::nanoseconds waited, bool oversubscribed) {
  if (!oversubscribed && waited < std::chrono::microseconds(20)) {
    _mm_pause();
  } else if (waited < std::chrono::microseconds(oversubscribed ? 100 : 1000)) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

int rank_in(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  return rank;
}

class MpiBackend final : public Backend {
 public:
  // Takes `comm` over. `first`: not made by split(); its close() frees what is left.
  MpiBackend(MPI_Comm comm, std::vector<PeerRecord> records, std::shared_ptr<NativeHandles> handles,
             bool oversubscribed, bool first)
      : handles_(std::move(handles)),
        notices_(handles_->add(comm)),
        records_(std::move(records)),
        peers_(peers_of(records_)),
        endpoint_{comm, rank_in(comm), static_cast<int>(records_.size()),
                  TreePlanner(static_cast<int>(records_.size()))},
        watch_(peers_, watchable(records_, endpoint_.rank)),
        oversubscribed_(oversubscribed),
        first_(first) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "mpi"; }
  [[nodiscard]] int rank() const noexcept override { return endpoint_.rank; }
  [[nodiscard]] int world_size() const noexcept override { return endpoint_.world_size; }
  [[nodiscard]] bool any_thread() const noexcept override { return false; }  // MPI_THREAD_FUNNELED
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return peers_; }

  [[nodiscard]] OperationPtr start(const Request& request) override {
    if (is_between_two(request.call.kind)) return OperationPtr(new MpiMessage(endpoint_, request));
    MpiCall* const call = new_call(request);
    OperationPtr operation(call);
    call->post_headers();
    return operation;
  }

  void idle(std::chrono::nanoseconds waited) override {
    pause_waiting(waited, oversubscribed_);
    const auto now = std::chrono::steady_clock::now();
    if (waited >= kNoticePeriod && now - last_listen_ >= kNoticePeriod) {
      last_listen_ = now;
      if (const auto failure = notices_->heard()) throw BackendFailure{*failure};
    }
    if (waited < kWatchPeriod || now - last_watch_ < kWatchPeriod) return;
    last_watch_ = now;
    if (const auto dead = watch_.dead_rank())
      throw BackendFailure{peer_died(*dead, peers_[static_cast<std::size_t>(*dead)])};
  }

  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_setup(MPI_Comm_split(endpoint_.comm, color < 0 ? MPI_UNDEFINED : color, key, &part), "MPI_Comm_split");
    if (part == MPI_COMM_NULL) return nullptr;
    return std::make_unique<MpiBackend>(part, records_in(part), handles_, oversubscribed_, false);
  }

  void fail(const Failure& failure) noexcept override { notices_->tell(failure); }
  [[nodiscard]] bool claim_first_failure() noexcept override { return handles_->claim(); }
  void close() override { first_ ? handles_->free_all() : handles_->free(endpoint_.comm); }

 private:
  [[nodiscard]] MpiCall* new_call(const Request& request) {
    if (request.agree_only) return new MpiCall(endpoint_, request);
    if (is_reduction(request.call.kind)) return new MpiReduction(endpoint_, request);
    return new MpiMove(endpoint_, request);
  }

  // Local. The records of the ranks of `part`, which are some of ours.
  [[nodiscard]] std::vector<PeerRecord> records_in(MPI_Comm part) const {
    MPI_Group group_of_all = MPI_GROUP_NULL;
    MPI_Group group = MPI_GROUP_NULL;
    int size = 0;
    MPI_Comm_group(endpoint_.comm, &group_of_all);
    MPI_Comm_group(part, &group);
    MPI_Group_size(group, &size);
    std::vector<int> ranks(static_cast<std::size_t>(size));
    std::vector<int> old_ranks(ranks.size());
    std::iota(ranks.begin(), ranks.end(), 0);
    check_setup(MPI_Group_translate_ranks(group, size, ranks.data(), group_of_all, old_ranks.data()),
                "MPI_Group_translate_ranks");
    MPI_Group_free(&group);
    MPI_Group_free(&group_of_all);
    std::vector<PeerRecord> records;
    for (const int old_rank : old_ranks) records.push_back(records_[static_cast<std::size_t>(old_rank)]);
    number_nodes(records);
    return records;
  }

  std::shared_ptr<NativeHandles> handles_;
  std::shared_ptr<Notices> notices_;
  std::vector<PeerRecord> records_;
  std::vector<Peer> peers_;
  Endpoint endpoint_;
  PeerWatch watch_;
  bool oversubscribed_;  // more ranks on this host than CPUs
  bool first_;
  std::chrono::steady_clock::time_point last_listen_{};
  std::chrono::steady_clock::time_point last_watch_{};
};

bool more_ranks_than_cpus(MPI_Comm host_comm) {
  int on_host = 0;
  MPI_Comm_size(host_comm, &on_host);
  return on_host > static_cast<int>(std::thread::hardware_concurrency());
}

MPI_Comm host_comm_of(MPI_Comm comm) {
  MPI_Comm host_comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host_comm), "MPI_Comm_split_type");
  return host_comm;
}

MPI_Comm node_comm_of(MPI_Comm host_comm, int virtual_nodes) {
  int ranks = 0;
  MPI_Comm_size(host_comm, &ranks);
  int node = 0;
  while (even_split(ranks, virtual_nodes, node).last <= rank_in(host_comm)) ++node;
  MPI_Comm node_comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_split(host_comm, node, 0, &node_comm), "MPI_Comm_split");
  return node_comm;
}

}  // namespace

std::unique_ptr<Backend> make_mpi_backend(MPI_Comm given, RankOrder order, int virtual_nodes) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_dup(given, &comm), "MPI_Comm_dup");
  MPI_Comm host_comm = host_comm_of(comm);
  MPI_Comm node_comm = node_comm_of(host_comm, virtual_nodes);
  std::vector<PeerRecord> records = exchange_records(comm, node_comm);
  if (order == RankOrder::by_node) {
    const PeerRecord& own = records[static_cast<std::size_t>(rank_in(comm))];
    const int key = own.node * static_cast<int>(records.size()) + own.local_rank;
    MPI_Comm ordered = MPI_COMM_NULL;
    check_setup(MPI_Comm_split(comm, 0, key, &ordered), "MPI_Comm_split");
    MPI_Comm_free(&comm);
    comm = ordered;
    records = exchange_records(comm, node_comm);
  }
  const auto handles = std::make_shared<NativeHandles>(host_comm);
  NativeHandles::free_with_mpi(handles);
  const bool oversubscribed = more_ranks_than_cpus(host_comm);
  MPI_Comm_free(&node_comm);
  MPI_Comm_free(&host_comm);
  return std::make_unique<MpiBackend>(comm, std::move(records), handles, oversubscribed, true);
}

}  // namespace lockstep::comm::mpi
