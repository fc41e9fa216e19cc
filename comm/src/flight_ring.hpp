// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/backend.hpp"

// The flight recorder's memory: one ring a process, written by all of its threads without locks. What is recorded costs
// two atomic operations on a line that was fetched beforehand; each change of a call's state costs one.
namespace lockstep::flight {

using TimePoint = std::chrono::steady_clock::time_point;

inline constexpr std::size_t kEntries = 4096;
inline constexpr std::size_t kLabelBytes = 96;

// A recorded call as its work holds it. Writes to the ring until the ring has come round to its entry.
class Mark {
 public:
  Mark() = default;
  // `now` need not be exact: the time at which this slice of progress began.
  void advanced(comm::Advanced advanced, TimePoint now) noexcept {
    if (ticket_ == 0 || advanced == comm::Advanced::not_yet) return;
    const bool ended = advanced == comm::Advanced::fully;
    if (moved_ && !ended) return;
    write(now, ended);
  }

 private:
  friend Mark record(std::uint32_t communicator, const comm::Call& call, std::string_view label,
                     TimePoint started) noexcept;
  explicit Mark(std::uint64_t ticket) noexcept : ticket_(ticket) {}
  void write(TimePoint now, bool ended) noexcept;

  std::uint64_t ticket_ = 0;  // 0: not recorded
  bool moved_ = false;
};

[[nodiscard]] Mark record(std::uint32_t communicator, const comm::Call& call, std::string_view label,
                          TimePoint started) noexcept;

struct Entry {
  std::uint64_t ticket = 0;  // counts all calls of the process, from 1
  std::uint32_t communicator = 0;
  std::uint32_t thread = 0;  // gettid(2)
  comm::Call call{};
  std::string label{};  // cut to kLabelBytes
  TimePoint started{};
  TimePoint moved{};  // data first moved; the epoch: not yet
  TimePoint ended{};  // the epoch: not yet
};

// What the ring holds, in the order of calls. An entry that is being written all the while is left out.
[[nodiscard]] std::vector<Entry> snapshot();

[[nodiscard]] std::uint64_t recorded() noexcept;  // calls since the process began, those that fell out included

// To measure what recording costs.
void set_enabled(bool enabled) noexcept;

}  // namespace lockstep::flight
