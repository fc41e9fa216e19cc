// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_choice.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "lockstep/comm/agree.hpp"
#include "runtime_impl.hpp"

namespace lockstep {
namespace {

// Collective.
ChosenCheckpoint opened(Runtime::Impl& impl, const AgreedSearch& search, bool from_partners) {
  ChosenCheckpoint chosen{.path = search.newest_good, .from_partners = from_partners};
  if (chosen.path.empty()) return chosen;
  agree(impl.world, [&] { chosen.step = Checkpoint::open(chosen.path).step(); });
  return chosen;
}

// Rank 0. Moves damaged checkpoints of the run folder out of the way.
void set_damaged_aside(Runtime::Impl& impl, const AgreedSearch& search, const ChosenCheckpoint& chosen) {
  if (chosen.path.empty() && !search.damaged.empty()) {
    throw CheckpointError({.what = "checkpoints in " + impl.folder->checkpoints().string(),
                           .why = "none is good: " + search.damaged.front().reason,
                           .fix = "restore one from a copy, or choose another run.dir to start over"});
  }
  for (const DamagedCheckpoint& damaged : search.damaged) {
    const auto aside = set_aside(damaged.path);
    impl.log.warning(fmt::format("damaged checkpoint: {}; renamed to {}, going on from step {}", damaged.reason,
                                 aside.filename().string(), chosen.step));
  }
}

}  // namespace

std::optional<PartnerOptions> partner_options(Runtime::Impl& impl, std::chrono::milliseconds timeout) {
  const std::string& local = impl.options.checkpoint_local_dir;
  if (local.empty()) return std::nullopt;
  const std::string id = decide_on_rank_0(impl.world, [&] { return impl.folder->id(); });
  return PartnerOptions{.folder = std::filesystem::path(local) / id, .timeout = timeout};
}

ChosenCheckpoint choose_checkpoint(Runtime::Impl& impl, const std::optional<PartnerOptions>& partners) {
  agree(impl.world, [&] {
    if (impl.is_root()) remove_unfinished_checkpoints(impl.folder->checkpoints());
  });
  const AgreedSearch shared = find_checkpoint(impl.world, impl.folder->checkpoints());
  ChosenCheckpoint chosen = opened(impl, shared, false);
  if (partners) {
    const AgreedSearch local = restore_from_partners(impl.world, *partners);
    for (const DamagedCheckpoint& damaged : local.damaged) {
      if (impl.is_root()) impl.log.warning(fmt::format("the nodes have not all of a checkpoint: {}", damaged.reason));
    }
    const ChosenCheckpoint of_nodes = opened(impl, local, true);
    if (!of_nodes.path.empty() && (chosen.path.empty() || of_nodes.step > chosen.step)) chosen = of_nodes;
  }
  agree(impl.world, [&] {
    if (impl.is_root()) set_damaged_aside(impl, shared, chosen);
  });
  return chosen;
}

}  // namespace lockstep
