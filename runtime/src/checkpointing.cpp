// SPDX-License-Identifier: Apache-2.0
#include "checkpointing.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"
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

// Collective. The newest good checkpoint's path, empty if there is none yet. Damaged newer ones are set aside.
std::filesystem::path choose_checkpoint(Runtime::Impl& impl) {
  const std::filesystem::path folder = impl.folder->checkpoints();
  agree(impl.world, [&] {
    if (impl.is_root()) remove_unfinished_checkpoints(folder);
  });
  const AgreedSearch search = find_checkpoint(impl.world, folder);
  agree(impl.world, [&] {
    if (!impl.is_root()) return;
    if (search.newest_good.empty() && !search.damaged.empty()) {
      throw CheckpointError({.what = "checkpoints in " + folder.string(),
                             .why = "none is good: " + search.damaged.front().reason,
                             .fix = "restore one from a copy, or choose another run.dir to start over"});
    }
    for (const DamagedCheckpoint& damaged : search.damaged) {
      const auto aside = set_aside(damaged.path);
      impl.log.warning(fmt::format("damaged checkpoint: {}; renamed to {}, going on from step {}", damaged.reason,
                                   aside.filename().string(), Checkpoint::open(search.newest_good).step()));
    }
  });
  return search.newest_good;
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
                  "{} -> {}, CPU capability {} -> {}, micro-batches {} -> {}",
                  stored.intra_op_threads, now.intra_op_threads, stored.libtorch, now.libtorch, stored.cpu_capability,
                  now.cpu_capability, stored.micro_batches, now.micro_batches));
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

Checkpointing::Checkpointing(Runtime& runtime, TrainState& state) : impl_(runtime.impl()), state_(state) {
  if (!impl_.folder) return;
  saver_.emplace(impl_.world, SaverOptions{.folder = impl_.folder->checkpoints(),
                                           .retention = retention_of(impl_.options),
                                           .timeout = std::chrono::milliseconds(
                                               static_cast<std::int64_t>(impl_.options.timeout_seconds * 1000))});
}

std::int64_t Checkpointing::start_or_resume() {
  if (!impl_.folder) return 0;
  const std::filesystem::path path = choose_checkpoint(impl_);
  std::int64_t step = 0;
  std::vector<std::string> changes;
  if (!path.empty()) {
    agree(impl_.world, [&] {
      const Checkpoint checkpoint = Checkpoint::open(path);
      changes = changed_options(impl_, checkpoint);
      check_changes(impl_, checkpoint, changes);
      restore(state_, checkpoint, changes.empty());
      step = checkpoint.step();
      warn_about_bits(impl_, checkpoint.determinism());
    });
    if (impl_.is_root()) {
      impl_.log.info(fmt::format("resumed from {}", path.string()));
      for (const std::string& change : changes) impl_.log.warning(fmt::format("changed at step {}: {}", step, change));
    }
  }
  record_start(impl_, step, changes);
  return step;
}

void Checkpointing::save(std::int64_t step, const std::map<std::string, double>& metrics) {
  if (!saver_) return;
  if (const auto earlier = saver_->finish()) tell(*earlier);
  agree(impl_.world, [&] { in_flight_ = flatten(state_); });
  CheckpointContents contents{.step = step,
                              .seed = static_cast<std::uint64_t>(impl_.options.seed),
                              .determinism = impl_.determinism,
                              .tensors = in_flight_.tensors,
                              .blobs = in_flight_.blobs,
                              .metrics = metrics};
  contents.blobs[kConfigBlob] = nlohmann::json(impl_.must_equal).dump();
  saver_->save(contents, impl_.options.checkpoint_overlap);
  if (!impl_.options.checkpoint_overlap) in_flight_ = {};
}

void Checkpointing::wait_until_staged() {
  if (in_flight_.tensors.empty()) return;
  saver_->wait_until_staged();
  in_flight_ = {};
}

void Checkpointing::advance() {
  if (!saver_) return;
  if (const auto outcome = saver_->poll()) tell(*outcome);
}

void Checkpointing::finish() {
  if (!saver_) return;
  wait_until_staged();
  const auto outcome = saver_->finish();
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
