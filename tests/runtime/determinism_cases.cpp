// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <map>

#include "runtime/cases.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"

namespace lockstep::testing {
namespace {

constexpr std::int64_t kBucketBytes[] = {1, 65'536, 25 << 20};

struct Cut {
  int micro_batches;
  std::int64_t global_batch;
};
// One sample, one fewer than micro-batches (some are empty), not divisible, divisible.
constexpr Cut kCuts[] = {{3, 1}, {3, 2}, {3, 7}, {3, 9}, {4, 1}, {4, 3}, {4, 10}, {4, 12}};

Fingerprint run(Communicator& world, const Cut& cut, std::int64_t bucket_bytes) {
  const SharedFolder folder(world);
  RuntimeOptions options;
  options.run_dir = folder.path();
  options.max_steps = 6;
  options.epochs = 100;
  options.global_batch = cut.global_batch;
  options.micro_batches = cut.micro_batches;
  options.bucket_bytes = bucket_bytes;
  options.checkpoint_every_steps = 0;
  return run_probe(world, options);
}

// The same run on one rank, in this process.
const Fingerprint& on_one_rank(const Cut& cut) {
  static std::map<std::pair<int, std::int64_t>, Fingerprint> known;  // ranks that are threads take turns
  Fingerprint& reference = known[{cut.micro_batches, cut.global_batch}];
  if (reference.empty()) {
    run_ranks_in_turn(1, [&](Communicator& alone) { reference = run(alone, cut, RuntimeOptions().bucket_bytes); });
  }
  return reference;
}

// The promise of docs/determinism.md.
void gradients_parameters_and_buffers_have_the_bits_of_one_rank(Communicator& world) {
  for (const Cut& cut : kCuts) {
    if (world.world_size() > cut.micro_batches) continue;
    const Fingerprint& expected = on_one_rank(cut);
    for (const std::int64_t bucket_bytes : kBucketBytes) {
      EXPECT_EQ(first_difference(run(world, cut, bucket_bytes), expected), "")
          << "differs first, with M = " << cut.micro_batches << ", N = " << cut.global_batch << ", buckets of "
          << bucket_bytes << " bytes, rank " << world.rank() << " of " << world.world_size();
    }
  }
}

// The probe could not fail if the numbers did not depend on the cut.
void another_cut_has_other_bits(Communicator& world) {
  if (world.world_size() > 3) return;
  const Fingerprint three = run(world, {3, 12}, 65'536);
  const Fingerprint four = run(world, {4, 12}, 65'536);
  EXPECT_EQ(first_difference(three, four), "step 0: gradient of gate");
}

}  // namespace

std::vector<RuntimeCase> determinism_cases() {
  return {{"gradients_parameters_and_buffers_have_the_bits_of_one_rank",
           gradients_parameters_and_buffers_have_the_bits_of_one_rank},
          {"another_cut_has_other_bits", another_cut_has_other_bits}};
}

std::vector<RuntimeCase> runtime_cases() {
  std::vector<RuntimeCase> all;
  for (const auto& some : {determinism_cases(), gradient_cases(), misuse_cases(), embedded_cases()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace lockstep::testing
