// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, for two threads or more, pinned to a core each. usage: bench_limits CORE CORE …
//   core_bytes_per_second  read and written by one core that sums two arrays into one of them
//   node_bytes_per_second  the same by all cores together
//   line_seconds           half a round trip of one cache line between the first two cores
// Arrays together are as large as the memory through which the bench rotates. Plain and non-temporal stores, the
// better.
#include <immintrin.h>
#include <pthread.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "common.hpp"

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kElements = bench::kRotateBytes / 2 / sizeof(float);
constexpr std::size_t kBytes = 3 * kElements * sizeof(float);  // two reads and a write
constexpr int kPasses = 9;

using Sum = void (*)(float* a, const float* b);

__attribute__((target_clones("default", "avx2", "avx512f"))) void sum(float* a, const float* b) {
  for (std::size_t i = 0; i < kElements; ++i) a[i] += b[i];
}

void sum_streamed(float* a, const float* b) {
  for (std::size_t i = 0; i < kElements; i += 4)
    _mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(a + i), _mm_load_ps(b + i)));
  _mm_sfence();
}

__attribute__((target("avx512f"))) void sum_streamed_avx512(float* a, const float* b) {
  for (std::size_t i = 0; i < kElements; i += 16)
    _mm512_stream_ps(a + i, _mm512_add_ps(_mm512_load_ps(a + i), _mm512_load_ps(b + i)));
  _mm_sfence();
}

void pin(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(core), &cores);
  pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
}

// Runs `work(thread number)` on the given cores at once.
template <class Work>
void on_cores(const std::vector<int>& cores, Work work) {
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < cores.size(); ++i) {
    threads.emplace_back([&, i] {
      pin(cores[i]);
      work(i);
    });
  }
}

// Bytes a second of all `cores` together: the median pass, from a common start to the last one's end.
double bandwidth(const std::vector<int>& cores, Sum function) {
  std::barrier together(static_cast<std::ptrdiff_t>(cores.size()));
  std::vector<double> seconds;
  on_cores(cores, [&](std::size_t thread) {
    const std::unique_ptr<float, decltype(&std::free)> memory(
        static_cast<float*>(std::aligned_alloc(64, 2 * kElements * sizeof(float))), std::free);
    std::fill_n(memory.get(), 2 * kElements, 0.0F);
    for (int pass = 0; pass < kPasses; ++pass) {
      together.arrive_and_wait();
      const auto began = Clock::now();
      function(memory.get(), memory.get() + kElements);
      together.arrive_and_wait();
      if (thread == 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - began).count());
    }
  });
  std::sort(seconds.begin(), seconds.end());
  return static_cast<double>(kBytes * cores.size()) / seconds[seconds.size() / 2];
}

double best_bandwidth(const std::vector<int>& cores) {
  const double best = std::max(bandwidth(cores, sum), bandwidth(cores, sum_streamed));
  return __builtin_cpu_supports("avx512f") != 0 ? std::max(best, bandwidth(cores, sum_streamed_avx512)) : best;
}

// Two cores pass a number to and fro in one line.
double line_seconds(int first, int second) {
  constexpr int kTrips = 20000;
  alignas(128) std::atomic<int> line{0};
  std::vector<double> each;
  on_cores({first, second}, [&](std::size_t thread) {
    for (int batch = 0; batch < kPasses; ++batch) {
      const auto began = Clock::now();
      for (int i = 0; i < kTrips; ++i) {
        const int number = 2 * (batch * kTrips + i) + static_cast<int>(thread);
        while (line.load(std::memory_order_acquire) != number) {
        }
        line.store(number + 1, std::memory_order_release);
      }
      if (thread == 0) each.push_back(std::chrono::duration<double>(Clock::now() - began).count() / (2.0 * kTrips));
    }
  });
  std::sort(each.begin(), each.end());
  return each[each.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> cores;
  for (int i = 1; i < argc; ++i) cores.push_back(std::atoi(argv[i]));
  if (cores.size() < 2) return 2;
  std::printf(R"({"core_bytes_per_second": %.6g, "node_bytes_per_second": %.6g, "line_seconds": %.6g})"
              "\n",
              best_bandwidth({cores[0]}), best_bandwidth(cores), line_seconds(cores[0], cores[1]));
  return 0;
}
