// SPDX-License-Identifier: Apache-2.0
#include "checkpointing.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "lockstep/comm/agree.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "runtime_impl.hpp"
#include "state_io.hpp"

namespace lockstep {
namespace {

constexpr const char* kConfigBlob = "config";

// Rank 0: the newest good checkpoint's path, or "" if there is none yet. Damaged newer ones are set aside.
std::string choose_checkpoint(Runtime::Impl& impl) {
  remove_unfinished_checkpoints(impl.folder->checkpoints());
  const CheckpointSearch search = find_checkpoint(impl.folder->checkpoints());
  if (!search.newest_good && !search.damaged.empty()) {
    throw CheckpointError({.what = "checkpoints in " + impl.folder->checkpoints().string(),
                           .why = "none is good: " + search.damaged.front().reason,
                           .fix = "restore one from a copy, or choose another run.dir to start over"});
  }
  for (const DamagedCheckpoint& damaged : search.damaged) {
    const auto aside = set_aside(damaged.path);
    impl.log.warning(fmt::format("damaged checkpoint: {}; renamed to {}, going on from step {}", damaged.reason,
                                 aside.filename().string(), search.newest_good->step()));
  }
  return search.newest_good ? search.newest_good->path().string() : "";
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

std::int64_t start_or_resume(Runtime& runtime, TrainState& state) {
  Runtime::Impl& impl = runtime.impl();
  if (!impl.folder) return 0;
  const std::string path = decide_on_rank_0(impl.world, [&] { return choose_checkpoint(impl); });
  std::int64_t step = 0;
  std::vector<std::string> changes;
  if (!path.empty()) {
    agree(impl.world, [&] {
      const Checkpoint checkpoint = Checkpoint::open(path);
      changes = changed_options(impl, checkpoint);
      check_changes(impl, checkpoint, changes);
      restore(state, checkpoint, changes.empty());
      step = checkpoint.step();
      warn_about_bits(impl, checkpoint.determinism());
    });
    if (impl.is_root()) {
      impl.log.info(fmt::format("resumed from {}", path));
      for (const std::string& change : changes) impl.log.warning(fmt::format("changed at step {}: {}", step, change));
    }
  }
  record_start(impl, step, changes);
  return step;
}

void save_checkpoint(Runtime& runtime, const TrainState& state, std::int64_t step) {
  Runtime::Impl& impl = runtime.impl();
  agree(impl.world, [&] {
    if (!impl.is_root()) return;
    const FlatState flat = flatten(state);
    CheckpointContents contents{.step = step,
                                .world_size = impl.world.world_size(),
                                .seed = static_cast<std::uint64_t>(impl.options.seed),
                                .determinism = impl.determinism,
                                .tensors = flat.tensors,
                                .blobs = flat.blobs};
    contents.blobs[kConfigBlob] = nlohmann::json(impl.must_equal).dump();
    const auto path = write_checkpoint(impl.folder->checkpoints(), contents);
    impl.log.debug("saved " + path.string());
  });
}

}  // namespace lockstep
