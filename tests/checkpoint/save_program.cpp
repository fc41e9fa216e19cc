// SPDX-License-Identifier: Apache-2.0
// usage: save_program FOLDER LAST    a rank: goes on from the newest checkpoint in FOLDER, saves every step up to LAST
//        save_program FOLDER         looks at FOLDER as a restart does, and prints the step that it finds, all of it
//        right
#include <cstdio>
#include <cstdlib>

#include "checkpoint/job_state.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "lockstep/comm/rendezvous.hpp"

namespace lockstep::testing {
namespace {

int check(const char* folder) {
  const Found found = restart(folder, 0);
  std::printf("%ld %s\n", static_cast<long>(found.step), found.wrong.c_str());
  return found.wrong.empty() ? 0 : 1;
}

int save(const char* folder, std::int64_t last_step) {
  Communicator world = rendezvous_world();
  if (world.rank() == 0) remove_unfinished_checkpoints(folder);
  const AgreedSearch search = find_checkpoint(world, folder);
  std::int64_t step = search.newest_good.empty() ? 0 : Checkpoint::open(search.newest_good).step();
  CheckpointSaver saver(world, {.folder = folder, .retention = {.keep_last = 2}});
  while (++step <= last_step) {
    const JobState state(step, world.world_size(), world.rank());
    saver.save(state.contents());
    const SaveOutcome outcome = saver.finish().value();
    if (outcome.failure.empty()) continue;
    std::fprintf(stderr, "%s\n", outcome.failure.c_str());
    return 1;
  }
  world.close();
  return 0;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::fprintf(stderr, "usage: save_program FOLDER [LAST]\n"), 2;
  try {
    return argc == 2 ? lockstep::testing::check(argv[1])
                     : lockstep::testing::save(argv[1], std::strtol(argv[2], nullptr, 10));
  } catch (const lockstep::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
