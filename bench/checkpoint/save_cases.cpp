// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <fstream>

#include "bench.hpp"
#include "clock.hpp"

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTensors = 1000;

struct Limits {
  std::vector<double> copies, one_thread, two_threads, best, buffered;

  void measure(const Bench& bench, const State& state) {
    bench.on_first([&] {
      copies.push_back(memcpy_seconds(state.pieces()));
      const DurableWrite direct = durable_write_seconds(bench.folder, state.whole_pages());
      one_thread.push_back(direct.one_thread);
      two_threads.push_back(direct.two_threads);
      best.push_back(direct.best());
      if (buffered.empty()) buffered.push_back(buffered_write_seconds(bench.folder, state.whole_pages()));
      return 0;
    });
  }
  [[nodiscard]] nlohmann::json numbers() const {
    return {{"memcpy_seconds", median(copies)},
            {"limit_seconds", median(best)},
            {"limit_1_thread_seconds", median(one_thread)},
            {"limit_2_threads_seconds", median(two_threads)},
            {"limit_buffered_seconds", median(buffered)}};
  }
};

bool same_files(const fs::path& one, const fs::path& other) {
  std::vector<char> bytes(8 << 20);
  std::vector<char> others(bytes.size());
  for (const fs::path& path : files_of(one)) {
    if (path.filename() == "MANIFEST") continue;  // tells the step
    std::ifstream a(path, std::ios::binary);
    std::ifstream b(other / path.filename(), std::ios::binary);
    if (!b || fs::file_size(path) != fs::file_size(other / path.filename())) return false;
    while (a) {
      a.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      b.read(others.data(), static_cast<std::streamsize>(others.size()));
      if (a.gcount() != b.gcount() ||
          std::memcmp(bytes.data(), others.data(), static_cast<std::size_t>(a.gcount())) != 0)
        return false;
    }
  }
  return true;
}

struct OverlapTimes {
  double save = 0;
  double compute = 0;
  double wait = 0;
  fs::path path{};
};

// As a trainer does it: forward changes what it may, then the optimizer changes the rest.
OverlapTimes overlapped_save(const Bench& bench, State& state, lockstep::CheckpointSaver& saver, Compute& compute,
                             std::int64_t step) {
  const auto contents = state.contents(step);
  OverlapTimes times;
  bench.world.barrier();
  auto began = Clock::now();
  saver.save(contents, true);
  times.save = seconds_since(began);
  state.flip(0);
  began = Clock::now();
  compute();
  times.compute = seconds_since(began);
  began = Clock::now();
  saver.wait_until_staged();
  times.wait = seconds_since(began);
  state.flip(1);
  times.path = finished(saver);
  for (const std::size_t first : {0, 1}) state.flip(first);
  return times;
}

}  // namespace

void measure_limits(const Bench& bench) {
  const State state(bench, bench.bytes, kTensors);
  Limits limits;
  for (int i = 0; i < bench.repeats; ++i) limits.measure(bench, state);
  if (bench.world.rank() == 0) bench.print("limits", "limit", bench.bytes, limits.numbers());
}

void measure_saves(const Bench& bench) {
  const State state(bench, bench.bytes, kTensors);
  lockstep::CheckpointSaver saver(bench.world, {.folder = bench.folder});
  Limits limits;
  SaveTimes first;
  std::vector<double> durable, stalls, background, faults;
  for (int i = 0; i <= bench.repeats; ++i) {
    bench.clear();
    limits.measure(bench, state);
    const SaveTimes times = timed_save(bench, saver, state.contents(i));
    if (i == 0) {
      first = times;
      continue;
    }
    durable.push_back(times.durable);
    stalls.push_back(times.stall);
    background.push_back(times.durable - times.stall);
    faults.push_back(times.faults);
  }
  if (bench.world.rank() != 0) return;
  nlohmann::json numbers = limits.numbers();
  numbers.update({{"durable_seconds", median(durable)},
                  {"stall_seconds", median(stalls)},
                  {"background_seconds", median(background)},
                  {"page_faults", *std::max_element(faults.begin(), faults.end())},
                  {"first_durable_seconds", first.durable},
                  {"first_stall_seconds", first.stall}});
  bench.print("save", "lockstep", bench.bytes, numbers);
}

void measure_overlap(const Bench& bench) {
  State state(bench, bench.bytes, kTensors);
  lockstep::CheckpointSaver saver(bench.world, {.folder = bench.folder});
  Compute compute;
  compute.calibrate(bench,
                    static_cast<double>(bench.bytes) / (1 << 30));  // no net with 1 GiB of state has shorter steps
  timed_save(bench, saver, state.contents(1));
  std::vector<double> quiet, stalls, overlapped, saves, waits, computes;
  bool same = true;
  for (int i = 0; i < bench.repeats; ++i) {
    bench.clear();
    bench.world.barrier();
    const auto began = Clock::now();
    compute();
    quiet.push_back(bench.most(seconds_since(began)));
    const SaveTimes synchronous = timed_save(bench, saver, state.contents(2 * i + 2));
    const OverlapTimes times = overlapped_save(bench, state, saver, compute, 2 * i + 3);
    stalls.push_back(synchronous.stall);
    overlapped.push_back(bench.most(times.save + times.wait));
    saves.push_back(bench.most(times.save));
    waits.push_back(bench.most(times.wait));
    computes.push_back(bench.most(times.compute));
    same &= bench.on_first([&] { return same_files(synchronous.path, times.path); });
  }
  bench.print("overlap", "lockstep", bench.bytes,
              {{"stall_seconds", median(overlapped)},
               {"save_seconds", median(saves)},
               {"wait_seconds", median(waits)},
               {"synchronous_stall_seconds", median(stalls)},
               {"compute_seconds", median(computes)},
               {"quiet_compute_seconds", median(quiet)},
               {"same_bits", same ? 1 : 0}});
}

}  // namespace bench
