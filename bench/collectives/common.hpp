// SPDX-License-Identifier: Apache-2.0
// What one process is told to measure, and what the ranks of a contender share to measure it.
#pragma once

#include <fcntl.h>
#include <immintrin.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>

#include "cases.hpp"

namespace bench {

inline constexpr std::size_t kRotateBytes = 96 << 20;  // more than the caches of this class of machine
inline constexpr std::int64_t kSlotAlignment = 128;
inline constexpr std::int64_t kMostSlots = 4096;
inline constexpr int kMostRounds = 10000;
inline constexpr int kFewestRounds = 5;

struct Settings {
  std::string contender;
  std::string file;
  std::vector<Case> cases{};
  std::size_t smallest = 8;
  std::size_t largest = 64 << 20;
  bool odd = false;      // every power of two ± one element, instead of the powers
  double seconds = 0.2;  // for a case and size, between kFewestRounds and kMostRounds
  int burst = 1;         // calls, with writing and checking of their data, that are timed together
  int rank = 0;
  int ranks = 1;

  [[nodiscard]] bool any_out_of_place() const {
    return std::any_of(cases.begin(), cases.end(), [](const Case& of) { return of.out_of_place; });
  }
  [[nodiscard]] std::size_t pool_bytes() const {
    return std::max(kRotateBytes, (largest + 256) * (any_out_of_place() ? 2 : 1));
  }
  [[nodiscard]] std::vector<std::size_t> sizes() const {
    std::vector<std::size_t> all;
    for (std::size_t bytes = smallest; bytes <= largest; bytes *= 2) {
      if (!odd) all.push_back(bytes);
      if (odd) all.push_back(bytes - 4), all.push_back(bytes + 4);
    }
    return all;
  }
};

// CONTENDER BARRIER_FILE CASE,CASE… SMALLEST_BYTES LARGEST_BYTES SECONDS powers|odd BURST
inline Settings parse(int argc, char** argv, int rank, int ranks) {
  if (argc != 9) std::fprintf(stderr, "see common.hpp for the arguments\n"), std::exit(2);
  Settings settings{.contender = argv[1], .file = argv[2], .rank = rank, .ranks = ranks};
  std::istringstream names(argv[3]);
  for (std::string name; std::getline(names, name, ',');) {
    for (const Case& known : kCases) {
      if (name == known.name) settings.cases.push_back(known);
    }
  }
  settings.smallest = std::strtoull(argv[4], nullptr, 10);
  settings.largest = std::strtoull(argv[5], nullptr, 10);
  settings.seconds = std::strtod(argv[6], nullptr);
  settings.odd = std::string(argv[7]) == "odd";
  settings.burst = std::atoi(argv[8]);
  return settings;
}

// A file that all ranks map. Arrivals at the barrier are counted up; each rank knows the count to wait for. Times of
// all ranks lie behind it.
class Common {
 public:
  explicit Common(const Settings& settings)
      : ranks_(settings.ranks), crowded_(ranks_ > static_cast<int>(std::thread::hardware_concurrency())) {
    const int file = open(settings.file.c_str(), O_RDWR);
    const std::size_t rows = settings.cases.size() * static_cast<std::size_t>(ranks_);
    const std::size_t bytes = kHeadBytes + rows * kMostRounds * sizeof(double);
    if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) std::perror("barrier file"), std::exit(2);
    base_ = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    close(file);
  }
  void barrier() {
    auto& arrived = head().arrived;
    expected_ += static_cast<std::uint64_t>(ranks_);
    arrived.fetch_add(1, std::memory_order_acq_rel);
    for (int spins = 0; arrived.load(std::memory_order_acquire) < expected_; ++spins) {
      if (spins < 20000 && !crowded_)
        _mm_pause();
      else
        sched_yield();
    }
  }
  // Said by rank 0 before the first barrier of that round, so that all know it after the round. By number, because
  // rank 0 may be in the next round before another has asked.
  void end_with(int round) { head().last_round.store(round, std::memory_order_relaxed); }
  [[nodiscard]] bool ended_with(int round) { return head().last_round.load(std::memory_order_relaxed) == round; }

  [[nodiscard]] double* times(std::size_t of_case, int rank) {
    const std::size_t row = of_case * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(rank);
    return reinterpret_cast<double*>(base_ + kHeadBytes) + row * kMostRounds;
  }

 private:
  static constexpr std::size_t kHeadBytes = 4096;
  struct Head {
    std::atomic<std::uint64_t> arrived;
    std::atomic<int> last_round;
  };
  [[nodiscard]] Head& head() { return *reinterpret_cast<Head*>(base_); }

  int ranks_;
  bool crowded_;
  char* base_ = nullptr;
  std::uint64_t expected_ = 0;
};

}  // namespace bench
