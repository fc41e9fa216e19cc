// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <fmt/format.h>
#include <torch/optim/optimizer.h>

#include <cmath>
#include <limits>

#include "checkpointing.hpp"
#include "device_feed.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/monitor/metrics_file.hpp"
#include "lockstep/runtime/steps.hpp"
#include "run_metrics.hpp"
#include "runtime_impl.hpp"
#include "seeds.hpp"
#include "state_io.hpp"

namespace lockstep {

using Clock = std::chrono::steady_clock;

class StepLoop::Impl {
 public:
  Impl(Runtime& given, TrainState& train_state, std::int64_t epoch_steps)
      : rt(given.impl()), state(train_state), checkpoints(given, train_state), steps_per_epoch(epoch_steps) {}

  void seed_outside() const { at::manual_seed(micro_batch_seed(rt.options.seed, step, rt.micro_batches)); }
  [[nodiscard]] std::int64_t total_steps() const;
  void share_findings();
  void save(bool last);
  void write_metrics();
  void show_progress();
  void check_ranks_agree(const std::string& digest);

  Runtime::Impl& rt;
  TrainState& state;
  Checkpointing checkpoints;
  std::int64_t steps_per_epoch;
  std::int64_t step = 0;
  std::int64_t first_step = 0;  // the one that this start resumed at
  std::int64_t epoch = 0;
  StepPlan plan;
  StepMetrics metrics;
  std::optional<DeviceFeed> feed;                      // on a GPU
  std::unique_ptr<monitor::MetricsFile> metrics_file;  // rank 0 of a run with a folder
  bool micro_batches_done = true;
  bool stop = false;
  std::map<std::string, double> latest;  // metrics, the newest value of each
  double last_loss = std::numeric_limits<double>::quiet_NaN();
  double samples_per_second = 0;
  std::int64_t samples_since_log = 0;
  Clock::time_point last_log = Clock::now();
};

std::int64_t StepLoop::Impl::total_steps() const {
  const std::int64_t by_epochs = steps_per_epoch * rt.options.epochs;  // 0: the length of an epoch is not known
  const std::int64_t by_steps = rt.options.max_steps;
  if (by_epochs == 0 || by_steps == 0) return std::max(by_epochs, by_steps);
  return std::min(by_epochs, by_steps);
}

// What a loader found on one rank alone is to be the same in every rank's state.
void StepLoop::Impl::share_findings() {
  for (const auto& [name, resumable] : state.resumables()) {
    const std::string own = resumable->take_findings();
    std::int64_t any = own.empty() ? 0 : 1;
    rt.world.all_reduce({&any, 1, DType::int64}, ReduceOp::max).wait();
    for (int rank = 0; any != 0 && rank < rt.world.world_size(); ++rank) {
      const std::string findings = rt.world.broadcast(own, rank);
      if (!findings.empty()) resumable->merge_findings(rank, findings);
      if (!findings.empty() && rt.is_root()) {
        rt.log.warning(fmt::format("{}, found by rank {}: {}", name, rank, findings));
      }
    }
  }
}

void StepLoop::Impl::save(bool last) {
  const auto began = Clock::now();
  for (const auto& [name, value] : rt.results) latest[name] = value;
  checkpoints.save(step, latest, last);
  last_log += Clock::now() - began;  // saving is not training time
}

void StepLoop::Impl::write_metrics() {
  auto means = metrics.means(rt.world);
  const double seconds = std::chrono::duration<double>(Clock::now() - last_log).count();
  if (samples_since_log > 0) samples_per_second = static_cast<double>(samples_since_log) / seconds;
  samples_since_log = 0;
  last_log = Clock::now();
  for (const auto& [name, value] : means) latest[name] = value;
  if (!rt.is_root()) return;
  monitor::Metrics line{.step = step, .values = {{"epoch", static_cast<double>(epoch)}}};
  for (auto& [name, value] : means) {
    if (name == "loss") last_loss = value;
    line.values.emplace_back(name, value);
  }
  line.values.emplace_back("samples_per_second", samples_per_second);
  if (!state.optimizers().empty()) {
    line.values.emplace_back("lr", state.optimizers().front().second->param_groups().front().options().get_lr());
  }
  if (metrics_file) metrics_file->write(line);
}

void StepLoop::Impl::show_progress() {
  if (!rt.is_root()) return;
  rt.progress.update({.step = step,
                      .total_steps = total_steps(),
                      .epoch = epoch,
                      .epochs = rt.options.epochs,
                      .loss = last_loss,
                      .samples_per_second = samples_per_second});
}

// Replicas that have drifted apart would train on silently.
void StepLoop::Impl::check_ranks_agree(const std::string& digest) {
  const std::string of_rank_0 = rt.world.broadcast(digest, 0);
  if (digest == of_rank_0) return;
  throw Error({.who = rt.world.who(),
               .what = fmt::format("parameters after step {}", step),
               .why = fmt::format("this rank's differ from rank 0's (sha256 {} and {})", digest, of_rank_0),
               .fix = "look for code that runs on some ranks only, or faulty memory on this host"});
}

StepLoop::StepLoop(Runtime& runtime, TrainState& state, std::int64_t steps_per_epoch)
    : impl_(std::make_unique<Impl>(runtime, state, steps_per_epoch)) {
  Runtime::Impl& rt = impl_->rt;
  if (rt.loop_active) {
    throw UsageError(
        {.what = "Runtime::steps", .why = "another step loop of this runtime is active", .fix = "end it first"});
  }
  if (steps_per_epoch == 0 && rt.micro_batches != rt.world.world_size()) {
    throw UsageError(
        {.what = fmt::format("Runtime::steps over a range that is not a DataLoader, with {} micro-batches",
                             rt.micro_batches),
         .why = fmt::format("there each of the {} ranks has one micro-batch a step", rt.world.world_size()),
         .fix =
             fmt::format("start a new run with train.micro_batches={}, or use a DataLoader", rt.world.world_size())});
  }
  impl_->step = impl_->first_step = impl_->checkpoints.start_or_resume();
  if (rt.folder && rt.is_root()) {
    impl_->metrics_file = std::make_unique<monitor::MetricsFile>(rt.folder->metrics(), impl_->step);
  }
  const at::Device device = runtime.device();
  if (!device.is_cpu()) impl_->feed.emplace(device, c10::impl::VirtualGuardImpl(device.type()));
  rt.loop_active = true;
}

StepLoop::~StepLoop() { impl_->rt.loop_active = false; }

std::int64_t StepLoop::step() const noexcept { return impl_->step; }

bool StepLoop::epochs_done(std::int64_t epochs) const noexcept { return epochs >= impl_->rt.options.epochs; }

bool StepLoop::finished() const noexcept {
  const std::int64_t total = impl_->total_steps();
  return impl_->stop || (total > 0 && impl_->step >= total);
}

bool StepLoop::logs_this_step() const noexcept { return (impl_->step + 1) % impl_->rt.options.log_every_steps == 0; }

bool StepLoop::all_have_more(bool more) {
  std::int64_t every = more ? 1 : 0;
  impl_->rt.world.all_reduce({&every, 1, DType::int64}, ReduceOp::min).wait();
  return every != 0;
}

void StepLoop::begin_step(std::int64_t epoch, std::int64_t samples) {
  Impl& impl = *impl_;
  impl.epoch = epoch;
  impl.plan = {.step = impl.step,
               .micro_batches = impl.rt.micro_batches,
               .owned = impl.rt.owned_micro_batches(),
               .samples = samples};
  impl.micro_batches_done = false;
  impl.seed_outside();
  impl.metrics.begin_step(impl.plan);
}

void StepLoop::begin_micro_batch(int k, std::int64_t samples, bool last_of_rank) {
  Impl& impl = *impl_;
  if (k == impl.plan.owned.first) {  // here, after the user's zero_grad()
    for (StepParticipant* participant : impl.rt.participants) participant->begin_step(impl.plan);
  }
  at::manual_seed(micro_batch_seed(impl.rt.options.seed, impl.step, k));
  impl.metrics.begin_micro_batch(k, samples);
  for (StepParticipant* participant : impl.rt.participants) participant->begin_micro_batch(k, samples, last_of_rank);
}

void StepLoop::end_micro_batch() {
  for (StepParticipant* participant : impl_->rt.participants) participant->end_micro_batch();
}

void StepLoop::finish_micro_batches() {
  Impl& impl = *impl_;
  for (StepParticipant* participant : impl.rt.participants) impl.stop = participant->finish() || impl.stop;
  impl.checkpoints.wait_until_staged();  // the optimizer comes next
  if (impl.rt.participants.empty()) impl.stop = !all_have_more(!impl.rt.stop_requested());
  impl.micro_batches_done = true;
  impl.seed_outside();
}

LoadedStep StepLoop::on_device(LoadedStep loaded) {
  return impl_->feed ? impl_->feed->bring(std::move(loaded)) : std::move(loaded);
}

void StepLoop::log(std::string_view name, double value) { impl_->metrics.log(name, value); }

void StepLoop::end_step() {
  Impl& impl = *impl_;
  if (!impl.micro_batches_done) {
    throw UsageError({.what = fmt::format("step {}", impl.step),
                      .why = "its micro-batches were not run to the end, so its gradients were never completed",
                      .fix = "go over all of step.micro_batches() in every step"});
  }
  const bool logs = logs_this_step();
  ++impl.step;
  impl.samples_since_log += impl.plan.samples;
  const std::int64_t every = impl.rt.options.checkpoint_every_steps;
  const bool saves = impl.stop || (every > 0 && impl.step % every == 0);
  if (logs || saves) impl.share_findings();
  if (logs) impl.write_metrics();
  impl.show_progress();
  impl.checkpoints.advance();
  if (saves) impl.save(impl.stop);
  if (impl.stop) impl.checkpoints.finish();
  if (impl.stop && impl.rt.listens_to_signals) {
    impl.rt.progress.clear();
    throw Stopped({.what = fmt::format("stopped on request after step {}", impl.step),
                   .why = impl.rt.folder ? "saved in " + impl.rt.folder->checkpoints().string() : "",
                   .fix = "start the same command again to go on"});
  }
}

void StepLoop::finish() {
  Impl& impl = *impl_;
  impl.rt.progress.clear();
  if (impl.step == impl.first_step && impl.rt.is_root()) {
    impl.rt.log.info(
        fmt::format("nothing left to train: step {} of {} is done (train.epochs or train.max_steps to go on)",
                    impl.step, impl.total_steps()));
  }
  impl.share_findings();
  impl.save(true);
  impl.checkpoints.finish();
  impl.rt.final_step = impl.step;
  impl.rt.parameters_sha256 = parameters_sha256(impl.state);
  impl.check_ranks_agree(impl.rt.parameters_sha256);
}

}  // namespace lockstep
