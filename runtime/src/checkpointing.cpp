// SPDX-License-Identifier: Apache-2.0
#include "checkpointing.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "checkpoint_choice.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/comm/agree.hpp"
#include "runtime_impl.hpp"

namespace lockstep {
namespace {

constexpr const char* kConfigBlob = "config";

RetentionPolicy retention_of(const RuntimeOptions& options) {
  return {.keep_last = options.checkpoint_keep_last,
          .keep_every = options.checkpoint_keep_every,
          .keep_best = options.checkpoint_keep_best,
          .metric = options.checkpoint_metric,
          .larger_is_better = options.checkpoint_best == "max",
          .quota_bytes = static_cast<std::uint64_t>(options.checkpoint_quota_bytes)};
}

// "train.lr: 0.05 -> 0.1" for every option that may not change and did.
std::vector<std::string> changed_options(const Runtime::Impl& impl, const Checkpoint& checkpoint) {
  std::vector<std::string> changes;
  const auto stored = nlohmann::json::parse(checkpoint.blob(kConfigBlob).value_or("{}"), nullptr, false);
  for (const auto& [name, value] : impl.must_equal) {
    const bool known = stored.is_object() && stored.contains(name);
    const std::string before = known ? stored[name].get<std::string>() : "not set";
    if (before != value) changes.push_back(fmt::format("{}: {} -> {}", name, before, value));
  }
  return changes;
}

void warn_about_bits(Runtime::Impl& impl, const DeterminismRecord& stored) {
  const DeterminismRecord& now = impl.determinism;
  if (stored == now || !impl.is_root()) return;
  impl.log.warning(
      fmt::format("bits are no longer comparable with the checkpoint's: intra-op threads {} -> {}, LibTorch "
                  "{} -> {}, CPU capability {} -> {}, device {} -> {}, micro-batches {} -> {}",
                  stored.intra_op_threads, now.intra_op_threads, stored.libtorch, now.libtorch, stored.cpu_capability,
                  now.cpu_capability, stored.device, now.device, stored.micro_batches, now.micro_batches));
}

void check_changes(const Runtime::Impl& impl, const Checkpoint& checkpoint, const std::vector<std::string>& changes) {
  if (changes.empty() || impl.options.allow_changes) return;
  throw UsageError({.what = "resuming from " + checkpoint.path().string(),
                    .why = fmt::format("options differ from the checkpoint's: {}", fmt::join(changes, "; ")),
                    .fix = "use the same options, or resume.allow_changes=true to go on with the new ones"});
}

void record_start(Runtime::Impl& impl, std::int64_t step, const std::vector<std::string>& changes) {
  agree(impl.world, [&] {
    if (!impl.is_root()) return;
    impl.folder->record_start({.ranks = impl.world.peers(),
                               .determinism = impl.determinism,
                               .backend = std::string(impl.world.backend_name()),
                               .config = impl.resolved_config,
                               .from_step = step,
                               .changes = changes});
  });
}

}  // namespace

Checkpointing::Checkpointing(Runtime& runtime, TrainState& state) : impl_(runtime.impl()), state_(state) {}

std::int64_t Checkpointing::start_or_resume() {
  if (!impl_.folder) return 0;
  const auto timeout = std::chrono::milliseconds(static_cast<std::int64_t>(impl_.options.timeout_seconds * 1000));
  const std::optional<PartnerOptions> partners = partner_options(impl_, timeout);
  const ChosenCheckpoint chosen = choose_checkpoint(impl_, partners);
  std::vector<std::string> changes;
  if (!chosen.path.empty()) {
    agree(impl_.world, [&] {
      const Checkpoint checkpoint = Checkpoint::open(chosen.path);
      changes = changed_options(impl_, checkpoint);
      check_changes(impl_, checkpoint, changes);
      restore(state_, checkpoint, changes.empty());
      warn_about_bits(impl_, checkpoint.determinism());
    });
    saved_step_ = chosen.step;
    saved_to_run_folder_ = !chosen.from_partners;
    if (impl_.is_root()) {
      impl_.log.info(fmt::format("resumed from {}", chosen.path.string()));
      for (const auto& change : changes) impl_.log.warning(fmt::format("changed at step {}: {}", chosen.step, change));
    }
  }
  record_start(impl_, chosen.step, changes);
  if (partners) partner_saver_.emplace(impl_.world, *partners);
  saver_.emplace(impl_.world, SaverOptions{.folder = impl_.folder->checkpoints(),
                                           .retention = retention_of(impl_.options),
                                           .timeout = timeout});
  return chosen.step;
}

// Whether a regular save of `step` goes to the run folder: each n-th does.
bool Checkpointing::is_flushed(std::int64_t step) const {
  return !partner_saver_ || step / impl_.options.checkpoint_every_steps % impl_.options.checkpoint_flush_every == 0;
}

void Checkpointing::save(std::int64_t step, const std::map<std::string, double>& metrics, bool last) {
  if (!saver_) return;
  const bool to_run_folder = last || is_flushed(step);
  if (saved_step_ == step && (saved_to_run_folder_ || !to_run_folder)) return;
  if (const auto earlier = end_save()) tell(*earlier);
  agree(impl_.world, [&] {
    in_flight_ = flatten(state_);
    impl_.check_device_calls();  // now that all of the step's are done
  });
  CheckpointContents contents{.step = step,
                              .seed = static_cast<std::uint64_t>(impl_.options.seed),
                              .determinism = impl_.determinism,
                              .tensors = in_flight_.tensors,
                              .blobs = in_flight_.blobs,
                              .metrics = metrics};
  contents.blobs[kConfigBlob] = nlohmann::json(impl_.must_equal).dump();
  const bool overlap = impl_.options.checkpoint_overlap;
  to_run_folder ? saver_->save(contents, overlap) : partner_saver_->save(contents, overlap);
  if (!overlap) in_flight_ = {};
  saved_step_ = step;
  saved_to_run_folder_ = to_run_folder;
}

void Checkpointing::wait_until_staged() {
  if (in_flight_.tensors.empty()) return;
  saved_to_run_folder_ ? saver_->wait_until_staged() : partner_saver_->wait_until_staged();
  in_flight_ = {};
}

void Checkpointing::advance() {
  if (!saver_) return;
  auto outcome = saver_->poll();
  if (!outcome && partner_saver_) outcome = partner_saver_->poll();
  if (outcome) tell(*outcome);
}

// Collective. The outcome of the save in flight, if there is one.
std::optional<SaveOutcome> Checkpointing::end_save() {
  wait_until_staged();
  auto outcome = saver_->finish();
  if (!outcome && partner_saver_) outcome = partner_saver_->finish();
  return outcome;
}

void Checkpointing::finish() {
  if (!saver_) return;
  const auto outcome = end_save();
  if (!outcome) return;
  tell(*outcome);
  if (outcome->failure.empty()) return;
  throw AgreedError({.what = fmt::format("save step {}", outcome->step),
                     .why = outcome->failure,
                     .fix = fmt::format("make room or mend the disk of {}, then start the same command again: it goes "
                                        "on from the newest checkpoint there",
                                        impl_.folder->checkpoints().string())},
                    ExitCode::io);
}

void Checkpointing::tell(const SaveOutcome& outcome) {
  if (!impl_.is_root()) return;
  if (outcome.failure.empty()) {
    impl_.log.debug("saved " + outcome.path.string());
  } else {
    impl_.log.warning(fmt::format("step {} was not saved: {}; the run goes on, older checkpoints are as they were",
                                  outcome.step, outcome.failure));
  }
  for (const std::string& warning : outcome.warnings) impl_.log.warning(warning);
  for (const std::int64_t step : outcome.removed)
    impl_.log.debug(fmt::format("removed the checkpoint of step {}", step));
}

}  // namespace lockstep
