// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <stdexcept>
#include <string>

#include "bench.hpp"
#include "clock.hpp"

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr double kStepSeconds = 0.03;
constexpr std::int64_t kGradients = 1 << 20;  // elements reduced in a step
constexpr std::size_t kMany = 100'000;

double status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return 1024 * std::stod(line.substr(field.size() + 1));
  }
  throw std::runtime_error("/proc/self/status has no " + field);
}

// One step of a trainer; looks after the save in flight.
class Trainer {
 public:
  Trainer(const Bench& bench, lockstep::CheckpointSaver& saver)
      : bench_(bench), saver_(saver), gradients_(static_cast<std::size_t>(kGradients), 1.0F) {
    compute_.calibrate(bench, kStepSeconds);
    for (int i = 0; i < 3; ++i) static_cast<void>(step());
  }
  [[nodiscard]] bool step() {
    compute_();
    bench_.world.all_reduce({gradients_.data(), kGradients}, lockstep::ReduceOp::avg).wait();
    const auto outcome = saver_.poll();
    if (outcome && !outcome->failure.empty()) throw std::runtime_error(outcome->failure);
    return outcome.has_value();
  }
  // Seconds a step, over all steps while a save is in flight; how many there were.
  std::pair<double, int> while_flushing() {
    const auto began = Clock::now();
    int steps = 1;
    while (!step()) ++steps;
    return {bench_.most(seconds_since(began)) / steps, steps};
  }
  double quiet(int steps) {
    bench_.world.barrier();
    const auto began = Clock::now();
    for (int i = 0; i < steps; ++i) static_cast<void>(step());
    return bench_.most(seconds_since(began)) / steps;
  }

 private:
  const Bench& bench_;
  lockstep::CheckpointSaver& saver_;
  std::vector<float> gradients_;
  Compute compute_;
};

}  // namespace

void measure_steps(const Bench& bench) {
  const State state(bench, bench.bytes, 1000);
  lockstep::CheckpointSaver saver(bench.world, {.folder = bench.folder});
  Trainer trainer(bench, saver);
  const double before = status_bytes("VmRSS:");
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak counts from here on
  timed_save(bench, saver, state.contents(1));
  std::vector<double> flushing, quiet, ratios;
  int steps = 10;
  for (int i = 0; i < 2 * bench.repeats; ++i) {
    bench.clear();
    const double first = i % 2 == 0 ? 0 : trainer.quiet(steps);
    saver.save(state.contents(i + 2));
    const auto [seconds, count] = trainer.while_flushing();
    steps = count;
    quiet.push_back(i % 2 == 0 ? trainer.quiet(steps) : first);
    flushing.push_back(seconds);
    ratios.push_back(flushing.back() / quiet.back());
  }
  bench.print("steps", "lockstep", bench.bytes,
              {{"flushing_step_seconds", median(flushing)},
               {"quiet_step_seconds", median(quiet)},
               {"step_ratio", median(ratios)},
               {"steps", steps},
               {"extra_bytes", bench.most(status_bytes("VmHWM:") - before)}});
}

void measure_many(const Bench& bench) {
  const State state(bench, kMany * 64, kMany);
  lockstep::CheckpointSaver saver(bench.world, {.folder = bench.folder});
  const SaveTimes first = timed_save(bench, saver, state.contents(1));
  std::vector<double> later, stalls;
  for (int i = 0; i < bench.repeats; ++i) {
    const SaveTimes times = timed_save(bench, saver, state.contents(i + 2));
    later.push_back(times.durable);
    stalls.push_back(times.stall);
  }
  bench.print("many", "lockstep", state.bytes(),
              {{"first_seconds", first.durable},
               {"first_stall_seconds", first.stall},
               {"later_seconds", median(later)},
               {"later_stall_seconds", median(stalls)},
               {"manifest_bytes", fs::file_size(first.path / "MANIFEST") / kMany},
               {"name_bytes", state.name_bytes() / kMany}});
}

}  // namespace bench
