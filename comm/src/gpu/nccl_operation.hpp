// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "nccl_lane.hpp"

namespace lockstep::comm::gpu {

// A collective that is on the stream. One that was captured into a graph is done for the host once it has been joined:
// before, the capturing stream would not come after it, and its memory could be used for something else.
class NcclOperation final : public Operation {
 public:
  struct Parts {
    std::shared_ptr<EventHandle> done{};   // null: nothing was queued
    std::shared_ptr<std::byte> scratch{};  // that it works in
    bool captured = false;
    bool host_waits = false;  // a barrier
  };
  NcclOperation(NcclLane& lane, const Call& call, Parts parts)
      : lane_(lane), call_(call), number_(lane.number()), serial_(lane.next_serial()), parts_(std::move(parts)) {}

  Advanced advance(Clock::time_point slice_end) override {
    const auto on_device = [&] { return lane_.is_done(serial_, number_, parts_.done.get(), slice_end); };
    const bool done = !parts_.done || (parts_.captured ? joined_ : on_device());
    return done ? Advanced::fully : Advanced::not_yet;
  }
  [[nodiscard]] bool join_stream() override {
    if (parts_.host_waits) return false;
    lane_.watched().throw_if_failed();
    if (parts_.done) lane_.join_caller(parts_.done.get());
    joined_ = true;
    return true;
  }
  [[nodiscard]] std::vector<int> missing() const override { return lane_.watched().behind(call_); }

 private:
  NcclLane& lane_;
  Call call_;
  std::uint64_t number_, serial_;
  Parts parts_;
  bool joined_ = false;
};

}  // namespace lockstep::comm::gpu
