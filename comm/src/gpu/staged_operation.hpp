// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "device.hpp"
#include "lockstep/comm/backend.hpp"
#include "pinned_memory.hpp"

namespace lockstep::comm::gpu {

class StagedOperation;

// Calls that must follow one another, because their calls of the host do on the other ranks.
struct StagedLane {
  std::deque<StagedOperation*> operations{};  // in the order of their start; the first is at work
  std::uint64_t next_message = 0;             // of the host, between two ranks
};

// What the operations of one communicator share.
struct StagedParts {
  std::shared_ptr<Device> device;
  std::unique_ptr<Backend> host;
  std::size_t piece_bytes;
  Stream stream = nullptr;
  PinnedMemory pinned{*device};
  StagedLane collectives{};
  std::vector<StagedLane> sends{}, receives{};  // by peer
  bool awaits_copy = false;                     // an operation found the device not ready since the last pause
  std::thread::id maker = std::this_thread::get_id();

  // Whether this thread may call the host's backend.
  [[nodiscard]] bool may_call_host() const { return host->any_thread() || std::this_thread::get_id() == maker; }
  [[nodiscard]] StagedLane& lane_of(const Call& call);
};

// A call in pieces, each of which is copied to pinned memory, goes through the host's call, and is copied back. Calls
// of a lane are at work one after the other. First the ranks agree on the whole call, so that a mismatch names what the
// user called: all of them by a call of the host, and of two the sender tells the receiver.
class StagedOperation final : public Operation {
 public:
  StagedOperation(StagedParts& parts, const Request& request);
  // By start(): makes the call known to the peers if no other is before it.
  void begin_if_first();
  StagedOperation(const StagedOperation&) = delete;
  StagedOperation& operator=(const StagedOperation&) = delete;
  ~StagedOperation() override;
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override;

 private:
  [[nodiscard]] bool is(Kind kind) const noexcept { return request_.call.kind == kind; }
  [[nodiscard]] bool may_work() const { return lane_.operations.front() == this && parts_.may_call_host(); }
  [[nodiscard]] bool in_pieces() const noexcept;
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }
  void plan_inputs_and_output();
  void plan_pieces();

  void start_agreement();
  void check_header() const;
  // Does one thing that can be done without waiting; whether there was one.
  [[nodiscard]] bool step(std::chrono::steady_clock::time_point slice_end);
  void copy_in();  // pieces for which there is a half
  void start_call();
  void copy_out();
  [[nodiscard]] bool seen(const std::shared_ptr<EventHandle>& event);
  void finish();

  [[nodiscard]] Range elements_of(std::int64_t piece) const;
  [[nodiscard]] std::byte* half_of(std::int64_t piece) const;

  StagedParts& parts_;
  StagedLane& lane_;
  Request request_;  // its spans are these:
  std::vector<Partial> partials_;
  std::vector<std::int64_t> leaf_bounds_, sizes_, received_sizes_;
  std::size_t element_bytes_;

  std::vector<const std::byte*> inputs_{};  // on the device
  std::byte* output_ = nullptr;             // on the device; null: nothing is copied back
  std::int64_t input_elements_ = 0;         // of each input, in a piece
  std::int64_t output_elements_ = 0;        // in a piece
  std::int64_t pieces_ = 0;
  std::size_t input_stride_ = 0;  // in pinned memory
  std::size_t output_at_ = 0;     // there
  std::size_t half_bytes_ = 0;

  std::shared_ptr<EventHandle> entry_;  // what the caller's stream held at the start
  bool begun_ = false;
  bool finished_ = false;
  OperationPtr agreement_;  // null once all agree
  Call sent_{};             // of a message: what its sender has called
  PinnedMemory::Block block_{};
  std::array<std::shared_ptr<EventHandle>, 2> copied_in_{};  // of each half; its last copy out comes before
  std::int64_t pieces_in_ = 0;                               // copies queued
  std::int64_t pieces_out_ = 0;                              // gone through the host, copies queued
  OperationPtr call_;                                        // of the host, for piece `pieces_out_`
  std::shared_ptr<EventHandle> copied_out_;                  // the last piece
};

}  // namespace lockstep::comm::gpu
