// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "gpu/nccl_api.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::test {

struct FakeOp {
  comm::Kind kind = comm::Kind::all_reduce;
  const void* input = nullptr;
  void* output = nullptr;
  std::size_t elements = 0;
  DType dtype = DType::uint8;
  ReduceOp op = ReduceOp::sum;
  int peer = -1;  // the root, or the other rank
};

// One operation, where the streams of its ranks meet. The last one that comes moves the data, if all fit together;
// else it is never done.
class Meeting {
 public:
  explicit Meeting(int places) : ops_(static_cast<std::size_t>(places)) {}
  void arrive(int place, const FakeOp& op);
  void withdraw();  // unless it is done, it never will be: returns when nobody moves data
  [[nodiscard]] bool done() const noexcept { return done_.load(std::memory_order_acquire); }

 private:
  std::mutex mutex_;
  std::vector<FakeOp> ops_;  // guarded by mutex_
  std::size_t arrived_ = 0;  // guarded by mutex_
  bool withdrawn_ = false;   // guarded by mutex_
  std::atomic<bool> done_{false};
};

// The ranks of one communicator.
class Clique {
 public:
  // (−1, −1, n): the n-th collective. (a, b, n): the n-th message from a to b.
  using Key = std::tuple<int, int, std::uint64_t>;
  Clique(int number, int ranks) : id(number), size(ranks) {}
  std::shared_ptr<Meeting> meeting(const Key& key);
  const int id, size;

 private:
  struct Pending {
    std::shared_ptr<Meeting> meeting{};
    int missing = 0;
  };
  std::mutex mutex_;
  std::map<Key, Pending> meetings_;  // guarded by mutex_; those to which not all have come
};

// Ranks that make communicators together: by init, split or shrink.
class Gathering {
 public:
  struct Ticket {
    int rank = 0, color = 0, key = 0;
    std::string uuid{};  // of the GPU, if two ranks may not have the same
  };
  struct Place {
    comm::gpu::NcclStatus status = comm::gpu::NcclStatus::success;
    std::string error{};
    std::shared_ptr<Clique> clique{};  // null: none for this color
    int rank = 0;
  };
  Gathering(std::size_t ranks, int first_id) : ranks_(ranks), next_id_(first_id) {}
  void arrive(const Ticket& ticket);
  [[nodiscard]] std::optional<Place> place(int rank);  // none until all have come

 private:
  void seat_all();
  const std::size_t ranks_;
  int next_id_;
  std::mutex mutex_;
  std::vector<Ticket> tickets_;    // guarded by mutex_
  std::map<int, Place> places_{};  // guarded by mutex_
};

}  // namespace lockstep::test
