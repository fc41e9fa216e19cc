// SPDX-License-Identifier: Apache-2.0
// The loop that all contenders of the all-reduce bench share, whatever library they use: data is rewritten before each
// call, buffers are rotated past the cache, ranks start each call from one common barrier (in a file that all map, so
// that it is the same for every library), the time of a call is the longest of all ranks, every result is checked.
// Arguments: BARRIER_FILE RANK RANKS LARGEST_BYTES [odd]. Rank 0 prints one JSON object a size.
#pragma once

#include <fcntl.h>
#include <immintrin.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kRotateBytes = 96 << 20;  // more than the caches of this class of machine
constexpr int kMostIterations = 2000;

struct Settings {
  std::string file;
  int rank = 0;
  int ranks = 1;
  std::size_t largest = 64 << 20;
  bool odd = false;  // every power of two ± one element, instead of the powers
};

inline Settings parse(int argc, char** argv, int rank, int ranks) {
  Settings settings{.file = argv[1], .rank = rank, .ranks = ranks};
  if (argc > 2) settings.largest = std::strtoull(argv[2], nullptr, 10);
  settings.odd = argc > 3 && std::string(argv[3]) == "odd";
  return settings;
}

// Arrivals are counted up; each rank knows the count to wait for. Times of all ranks lie behind it.
class Common {
 public:
  explicit Common(const Settings& settings) : settings_(settings) {
    const int file = open(settings.file.c_str(), O_RDWR);
    const std::size_t bytes = 4096 + static_cast<std::size_t>(settings.ranks) * kMostIterations * sizeof(double);
    if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) std::perror("barrier file"), std::exit(2);
    base_ = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    close(file);
  }
  void barrier() {
    auto& arrived = *reinterpret_cast<std::atomic<std::uint64_t>*>(base_);
    expected_ += static_cast<std::uint64_t>(settings_.ranks);
    arrived.fetch_add(1, std::memory_order_acq_rel);
    for (int spins = 0; arrived.load(std::memory_order_acquire) < expected_; ++spins) {
      if (spins < 20000)
        _mm_pause();
      else
        sched_yield();
    }
  }
  double* times_of(int rank) { return reinterpret_cast<double*>(base_ + 4096) + rank * kMostIterations; }

 private:
  Settings settings_;
  char* base_;
  std::uint64_t expected_ = 0;
};

inline double percentile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1))];
}

inline std::vector<std::size_t> sizes(const Settings& settings) {
  std::vector<std::size_t> all;
  for (std::size_t bytes = 8; bytes <= settings.largest; bytes *= 2) {
    if (!settings.odd) all.push_back(bytes);
    if (settings.odd && bytes > 8) all.push_back(bytes - 4), all.push_back(bytes + 4);
  }
  return all;
}

// `pool`: kRotateBytes or LARGEST_BYTES of this library's memory; `all_reduce(float*, elements)` sums in place.
template <class AllReduce>
void measure(const Settings& settings, const char* contender, float* pool, AllReduce all_reduce) {
  Common common(settings);
  const std::size_t pool_bytes = std::max(kRotateBytes, settings.largest + 64);
  for (const std::size_t bytes : sizes(settings)) {
    const auto elements = static_cast<std::int64_t>(bytes / sizeof(float));
    const std::size_t stride = (bytes + 127) / 128 * 128;
    const std::size_t copies = std::clamp<std::size_t>(pool_bytes / stride, 1, 4096);
    const int iterations = bytes <= (64 << 10) ? 1000 : bytes <= (4 << 20) ? 100 : 15;
    double* const times = common.times_of(settings.rank);
    for (int i = -10; i < iterations; ++i) {
      float* const data = pool + static_cast<std::size_t>(i + 10) % copies * stride / sizeof(float);
      for (std::int64_t e = 0; e < elements; ++e) data[e] = static_cast<float>((e + i + 10) % 1000 + settings.rank);
      common.barrier();
      const auto began = Clock::now();
      all_reduce(data, elements);
      if (i >= 0) times[i] = std::chrono::duration<double>(Clock::now() - began).count();
      const int ranks = settings.ranks;
      for (std::int64_t e = 0; e < elements; e += std::max<std::int64_t>(elements / 7, 1)) {
        const auto expected = static_cast<float>(ranks * ((e + i + 10) % 1000) + ranks * (ranks - 1) / 2);
        if (data[e] != expected) {
          std::fprintf(stderr, "%s: %g instead of %g at element %lld of %zu bytes\n", contender, data[e], expected,
                       static_cast<long long>(e), bytes);
          std::exit(1);
        }
      }
    }
    common.barrier();
    if (settings.rank == 0) {
      std::vector<double> longest(times, times + iterations);
      for (int rank = 1; rank < settings.ranks; ++rank) {
        for (int i = 0; i < iterations; ++i)
          longest[static_cast<std::size_t>(i)] =
              std::max(longest[static_cast<std::size_t>(i)], common.times_of(rank)[i]);
      }
      std::printf("{\"contender\": \"%s\", \"bytes\": %zu, \"median\": %.9g, \"p99\": %.9g}\n", contender, bytes,
                  percentile(longest, 0.5), percentile(longest, 0.99));
      std::fflush(stdout);
    }
    common.barrier();
  }
}

}  // namespace bench
