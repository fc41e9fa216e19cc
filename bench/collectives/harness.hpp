// SPDX-License-Identifier: Apache-2.0
// The loop that all contenders share, whatever library they use: data is rewritten before each call, buffers are
// rotated past the cache, ranks start each call from one common barrier (in a file that all map, so that it is the same
// for every library), the time of a call is the longest of all ranks, every result is checked. Cases of one process
// take turns call by call, so that they compare in pairs. Rank 0 prints one JSON object a case and size.
#pragma once

#include <chrono>

#include "common.hpp"

namespace bench {

using Clock = std::chrono::steady_clock;

// `memory`: settings.pool_bytes() of the contender's; `call(case's number, case, buffers)` does the work.
template <class Call>
class Loop {
 public:
  Loop(const Settings& settings, void* memory, Call call)
      : settings_(settings), memory_(static_cast<char*>(memory)), call_(std::move(call)), common_(settings) {
    std::memset(memory, 0, settings.pool_bytes());  // no page is touched first by a timed call
    for (const Case& of : settings.cases) fillers_.emplace_back(of.format, settings.rank);
  }

  void run() {
    for (const std::size_t bytes : settings_.sizes()) {
      bytes_ = bytes;
      slot_bytes_ = (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
      for (int i = settings_.burst == 1 && bytes <= (4 << 20) ? 10 : 1; i > 0; --i) round(0);
      const int rounds = timed_rounds();
      common_.barrier();
      for (std::size_t c = 0; settings_.rank == 0 && c < settings_.cases.size(); ++c) print(c, rounds);
      common_.barrier();
    }
  }

 private:
  int timed_rounds() {
    const std::chrono::duration<double> budget(settings_.seconds * static_cast<double>(settings_.cases.size()));
    const auto began = Clock::now();
    int done = 0;
    do {
      const bool last = done + 1 == kMostRounds || (done + 1 >= kFewestRounds && Clock::now() - began > budget);
      if (settings_.rank == 0 && last) common_.end_with(round_);
      round(done++);
    } while (!common_.ended_with(round_ - 1));
    return done;
  }

  void round(int slot) {
    for (std::size_t c = 0; c < settings_.cases.size(); ++c) common_.times(c, settings_.rank)[slot] = time_of(c);
    ++round_;
  }

  double time_of(std::size_t c) {
    Buffers buffers = prepare(c);
    common_.barrier();
    const auto began = Clock::now();
    call_(c, settings_.cases[c], buffers);
    for (int n = 1; n < settings_.burst; ++n) {
      check(c, buffers);
      buffers = prepare(c);
      call_(c, settings_.cases[c], buffers);
    }
    const std::chrono::duration<double> took = Clock::now() - began;
    check(c, buffers);
    return took.count() / settings_.burst;
  }

  Buffers prepare(std::size_t c) {
    const Case& of = settings_.cases[c];
    const std::size_t stride = slot_bytes_ * (settings_.any_out_of_place() ? 2 : 1);
    const std::size_t slots = std::min<std::size_t>(settings_.pool_bytes() / stride, kMostSlots);
    char* const input = memory_ + static_cast<std::size_t>(++call_number_) % slots * stride;
    const auto elements = static_cast<std::int64_t>(bytes_ / size_of(of.format));
    fillers_[c].fill(input, input_elements(of, elements, settings_.ranks), call_number_);
    return {input, of.out_of_place ? input + slot_bytes_ : input, elements};
  }

  void check(std::size_t c, const Buffers& buffers) const {
    const Case& of = settings_.cases[c];
    const std::int64_t count = output_elements(of, buffers.elements, settings_.ranks);
    for (std::int64_t e = 0; e < count; e += std::max<std::int64_t>(count / 7, 1)) {
      const double found = value_at(of.format, buffers.output, e);
      const double expected = expected_value(of, e, buffers.elements, call_number_, settings_.rank, settings_.ranks);
      if (found == expected) continue;
      std::fprintf(stderr, "%s, %s on rank %d: %g instead of %g at element %lld of %lld\n", settings_.contender.c_str(),
                   of.name, settings_.rank, found, expected, static_cast<long long>(e), static_cast<long long>(count));
      std::exit(1);
    }
  }

  void print(std::size_t c, int rounds) {
    std::vector<double> longest(common_.times(c, 0), common_.times(c, 0) + rounds);
    for (int rank = 1; rank < settings_.ranks; ++rank) {
      for (std::size_t i = 0; i < longest.size(); ++i) longest[i] = std::max(longest[i], common_.times(c, rank)[i]);
    }
    std::sort(longest.begin(), longest.end());
    const auto at = [&](double fraction) { return longest[static_cast<std::size_t>(fraction * (rounds - 1))]; };
    std::printf(R"({"contender": "%s", "case": "%s", "bytes": %zu, "median": %.6g, "p99": %.6g, "rounds": %d})"
                "\n",
                settings_.contender.c_str(), settings_.cases[c].name, bytes_, at(0.5), at(0.99), rounds);
    std::fflush(stdout);
  }

  const Settings& settings_;
  char* memory_;
  Call call_;
  Common common_;
  std::vector<Filler> fillers_;
  std::size_t bytes_ = 0;
  std::size_t slot_bytes_ = 0;
  std::int64_t call_number_ = 0;  // of this rank's calls, the same on all ranks
  int round_ = 1;                 // of all sizes together
};

template <class Call>
void measure(const Settings& settings, void* memory, Call call) {
  Loop<Call>(settings, memory, std::move(call)).run();
}

}  // namespace bench
