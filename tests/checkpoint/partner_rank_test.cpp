// SPDX-License-Identifier: Apache-2.0
// Partner copies of ranks that are processes, over every backend: messages are under way while the job's own
// collectives run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/checkpoint/partner.hpp"
#include "rank_state.hpp"
#include "support/rank_world.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class PartnerRanks : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "lockstep-partner-XXXXXX";
    if (world.rank() == 0) {
      ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    }
    root = world.broadcast(pattern, 0);
    for (int rank = 0; rank < world.world_size(); ++rank) options.nodes.push_back(rank * 2 / world.world_size());
    node = options.nodes[static_cast<std::size_t>(world.rank())];
    options.folder = root / ("host" + std::to_string(node));
  }
  void TearDown() override {
    world.barrier();
    if (world.rank() == 0) fs::remove_all(root);
  }
  Communicator& world = testing::world(GetParam());
  fs::path root;
  PartnerOptions options;
  int node = 0;
};

TEST_P(PartnerRanks, a_lost_node_is_restored) {
  constexpr std::int64_t kElements = 9'000'003;  // of each rank: its file goes in several pieces when it is restored
  test::RankState state(world, 3);
  std::vector<float> large(kElements, static_cast<float>(world.rank() + 1));
  state.contents.tensors.push_back({"/optimizer/large",
                                    DType::float32,
                                    {kElements * world.world_size()},
                                    kElements * world.rank(),
                                    kElements,
                                    reinterpret_cast<const std::byte*>(large.data()),
                                    false});
  {
    PartnerSaver saver(world, options);
    saver.save(state.contents, true);
    saver.wait_until_staged();
    std::ranges::fill(large, -1.0F);
    std::optional<SaveOutcome> outcome;
    while (!(outcome = saver.poll())) {
      std::int64_t one = 1;
      world.all_reduce({&one, 1, DType::int64}).wait();  // as training does
      ASSERT_EQ(one, world.world_size());
    }
    ASSERT_EQ(outcome->failure, "");
  }
  world.barrier();
  if (world.rank() == world.world_size() - 1) fs::remove_all(options.folder);
  world.barrier();

  const AgreedSearch search = restore_from_partners(world, options);
  ASSERT_EQ(search.newest_good, checkpoint_path(options.folder / ("node-" + std::to_string(node)), 3));
  const Checkpoint checkpoint = Checkpoint::open(search.newest_good);
  checkpoint.verify();
  const int next = (world.rank() + 1) % world.world_size();
  const ReadRequest request{"/optimizer/large", kElements * next, std::as_writable_bytes(std::span(large))};
  checkpoint.read(std::span(&request, 1));
  EXPECT_THAT(large, ::testing::Each(static_cast<float>(next + 1)));
}

INSTANTIATE_TEST_SUITE_P(Backends, PartnerRanks, ::testing::ValuesIn(testing::backends()));

}  // namespace
}  // namespace lockstep
