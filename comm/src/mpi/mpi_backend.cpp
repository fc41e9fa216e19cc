// SPDX-License-Identifier: Apache-2.0
#include "mpi_backend.hpp"

#include <fmt/format.h>
#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <thread>

#include "../peer_watch.hpp"
#include "exchange_records.hpp"
#include "mpi_check.hpp"
#include "mpi_operation.hpp"

namespace lockstep::comm::mpi {
namespace {

// What MPI owns on behalf of a backend and its duplicates. Released by close() or, in a program that runs MPI itself,
// by the delete callback of an attribute of MPI_COMM_SELF, which MPI_Finalize calls first.
struct NativeHandles {
  std::vector<MPI_Comm> comms;
  MPI_Win claim_window = MPI_WIN_NULL;
  std::atomic<int>* claims = nullptr;  // in the node's shared window

  void free_all() {
    if (claim_window != MPI_WIN_NULL) MPI_Win_free(&claim_window);
    for (MPI_Comm& comm : comms) {
      if (comm != MPI_COMM_NULL) MPI_Comm_free(&comm);
    }
    comms.clear();
    claims = nullptr;
  }
};

int free_at_finalize(MPI_Comm, int, void* attribute, void*) {
  auto* const handles = static_cast<std::shared_ptr<NativeHandles>*>(attribute);
  (*handles)->free_all();
  delete handles;
  return MPI_SUCCESS;
}

void free_with_mpi(const std::shared_ptr<NativeHandles>& handles) {
  int key = MPI_KEYVAL_INVALID;
  check_setup(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, free_at_finalize, &key, nullptr), "MPI_Comm_create_keyval");
  check_setup(MPI_Comm_set_attr(MPI_COMM_SELF, key, new std::shared_ptr<NativeHandles>(handles)), "MPI_Comm_set_attr");
  check_setup(MPI_Comm_free_keyval(&key), "MPI_Comm_free_keyval");
}

void pause_waiting(std::chrono::nanoseconds waited, bool oversubscribed) {
  if (!oversubscribed && waited < std::chrono::microseconds(20)) {
    _mm_pause();
  } else if (waited < std::chrono::microseconds(oversubscribed ? 100 : 1000)) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

class MpiBackend final : public Backend {
 public:
  MpiBackend(MPI_Comm comm, std::vector<PeerRecord> records, std::shared_ptr<NativeHandles> handles, bool owner)
      : comm_(comm), handles_(std::move(handles)), records_(std::move(records)), owner_(owner) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    peers_ = peers_of(records_);
    watch_ = std::make_unique<PeerWatch>(peers_, watchable(records_, rank_));
    const auto on_node = std::count_if(records_.begin(), records_.end(), [&](const PeerRecord& record) {
      return record.node == records_[static_cast<std::size_t>(rank_)].node;
    });
    oversubscribed_ = on_node > static_cast<std::ptrdiff_t>(std::thread::hardware_concurrency());
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "mpi"; }
  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int world_size() const noexcept override { return static_cast<int>(peers_.size()); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return peers_; }

  [[nodiscard]] OperationPtr start(const Request& request) override {
    return OperationPtr(new MpiOperation(comm_, rank_, world_size(), pool_, request));
  }

  void idle(std::chrono::nanoseconds waited) override {
    pause_waiting(waited, oversubscribed_);
    const auto now = std::chrono::steady_clock::now();
    if (waited < std::chrono::milliseconds(1) || now - last_watch_ < std::chrono::milliseconds(1)) return;
    last_watch_ = now;
    if (const auto dead = watch_->dead_rank())
      throw BackendFailure{peer_died(*dead, peers_[static_cast<std::size_t>(*dead)])};
  }

  [[nodiscard]] std::unique_ptr<Backend> split(int, int) override {
    MPI_Comm copy = MPI_COMM_NULL;
    check_setup(MPI_Comm_dup(comm_, &copy), "MPI_Comm_dup");
    handles_->comms.push_back(copy);
    return std::make_unique<MpiBackend>(copy, records_, handles_, false);
  }

  void fail(const Failure&) noexcept override {}  // peers have their deadline; lockstep::run takes the job down

  [[nodiscard]] bool claim_first_failure() noexcept override {
    return handles_->claims == nullptr || handles_->claims->fetch_add(1) == 0;
  }

  void close() override {
    if (owner_) return handles_->free_all();
    std::erase(handles_->comms, comm_);
    MPI_Comm_free(&comm_);
  }

 private:
  MPI_Comm comm_;
  std::shared_ptr<NativeHandles> handles_;
  std::vector<PeerRecord> records_;
  bool owner_;  // made first; its close() frees what is left
  int rank_ = 0;
  std::vector<Peer> peers_;
  StagingPool pool_;
  std::unique_ptr<PeerWatch> watch_;
  bool oversubscribed_ = false;
  std::chrono::steady_clock::time_point last_watch_{};
};

// Collective over the node. A counter in shared memory that needs no progress of the peers: failing ranks ask it who
// prints.
void make_claim_window(MPI_Comm node_comm, NativeHandles& handles) {
  int local_rank = 0;
  MPI_Comm_rank(node_comm, &local_rank);
  void* base = nullptr;
  const MPI_Aint bytes = local_rank == 0 ? sizeof(std::atomic<int>) : 0;
  check_setup(MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, node_comm, &base, &handles.claim_window),
              "MPI_Win_allocate_shared");
  MPI_Aint size = 0;
  int unit = 0;
  check_setup(MPI_Win_shared_query(handles.claim_window, 0, &size, &unit, &base), "MPI_Win_shared_query");
  if (local_rank == 0) new (base) std::atomic<int>(0);
  check_setup(MPI_Barrier(node_comm), "MPI_Barrier");
  handles.claims = static_cast<std::atomic<int>*>(base);
}

}  // namespace

std::unique_ptr<Backend> make_mpi_backend(MPI_Comm given, RankOrder order) {
  const auto handles = std::make_shared<NativeHandles>();
  MPI_Comm comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_dup(given, &comm), "MPI_Comm_dup");
  MPI_Comm node_comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node_comm), "MPI_Comm_split_type");
  std::vector<PeerRecord> records = exchange_records(comm, node_comm);
  if (order == RankOrder::by_node) {
    int rank = 0;
    MPI_Comm_rank(comm, &rank);
    const PeerRecord& own = records[static_cast<std::size_t>(rank)];
    const int key = own.node * static_cast<int>(records.size()) + own.local_rank;
    MPI_Comm ordered = MPI_COMM_NULL;
    check_setup(MPI_Comm_split(comm, 0, key, &ordered), "MPI_Comm_split");
    MPI_Comm_free(&comm);
    comm = ordered;
    records = exchange_records(comm, node_comm);
  }
  make_claim_window(node_comm, *handles);
  MPI_Comm_free(&node_comm);
  handles->comms.push_back(comm);
  free_with_mpi(handles);
  return std::make_unique<MpiBackend>(comm, std::move(records), handles, true);
}

}  // namespace lockstep::comm::mpi
