// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "failure.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/communicator.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Collective. Rank 0's list.
std::vector<std::int64_t> share_list(Communicator& world, std::vector<std::int64_t> steps) {
  auto count = static_cast<std::int64_t>(steps.size());
  world.broadcast(Buffer{&count, 1, DType::int64}, 0).wait();
  steps.resize(static_cast<std::size_t>(count));
  world.broadcast(Buffer{steps.data(), count, DType::int64}, 0).wait();
  return steps;
}

// This rank's share of the files; what is wrong with them.
std::string damage_of(const Communicator& world, const fs::path& path, std::int64_t step) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw CannotLook({.who = world.who(),
                      .what = fmt::format("look at checkpoint {}", path.string()),
                      .why = "this host does not see it, and rank 0's does",
                      .fix = "use a folder that all hosts share, and check that it is mounted here"});
  }
  try {
    const Checkpoint checkpoint = Checkpoint::open(path);
    if (checkpoint.step() != step)
      return fmt::format("{}: its MANIFEST says step {}", path.string(), checkpoint.step());
    const auto ranks = static_cast<std::size_t>(world.world_size());
    for (auto file = static_cast<std::size_t>(world.rank()); file < checkpoint.files(); file += ranks) {
      checkpoint.verify_file(file);
    }
    return {};
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

// Collective. The lowest rank's reason why the checkpoint is damaged; empty: it is good. Throws on all ranks if one
// cannot look at it.
std::string agreed_damage(Communicator& world, const fs::path& path, std::int64_t step) {
  std::string own;
  agree(world, [&] { own = damage_of(world, path, step); });
  std::int64_t first = own.empty() ? world.world_size() : world.rank();
  world.all_reduce({&first, 1, DType::int64}, ReduceOp::min).wait();
  return first == world.world_size() ? "" : world.broadcast(own, static_cast<int>(first));
}

}  // namespace

AgreedSearch find_checkpoint(Communicator& world, const fs::path& folder) {
  std::vector<std::int64_t> steps;
  agree(world, [&] {
    if (world.rank() == 0) steps = list_checkpoints(folder);
  });
  AgreedSearch search;
  for (const std::int64_t step : share_list(world, std::move(steps))) {
    const fs::path path = checkpoint_path(folder, step);
    const std::string damage = agreed_damage(world, path, step);
    if (damage.empty()) {
      search.newest_good = path;
      break;
    }
    search.damaged.push_back({path, damage});
  }
  return search;
}

}  // namespace lockstep
