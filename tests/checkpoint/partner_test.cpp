// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/partner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/local.hpp"
#include "partner_hosts.hpp"
#include "rank_state.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using namespace test;  // NOLINT(google-build-using-namespace): all of partner_hosts.hpp
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PartnerPlacements : public testing::TestWithParam<Nodes> {
 protected:
  const Nodes& nodes() const { return GetParam(); }
  Nodes distinct() const {
    Nodes all = nodes();
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }
  Hosts hosts;
};

TEST_P(PartnerPlacements, the_loss_of_any_one_node_loses_no_bit) {
  for (const int lost : distinct()) {
    SCOPED_TRACE("node " + std::to_string(lost));
    const Hosts fresh;
    save_steps(fresh, nodes(), {3});
    fresh.lose(lost);
    expect_restores(fresh, nodes(), 3);
  }
}

TEST_P(PartnerPlacements, without_a_loss_every_node_gets_all) {
  save_steps(hosts, nodes(), {3});
  expect_restores(hosts, nodes(), 3);
}

TEST_P(PartnerPlacements, a_node_holds_its_own_files_and_those_of_the_node_before) {
  save_steps(hosts, nodes(), {3});
  const Nodes all = distinct();
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::vector<std::string> expected{"MANIFEST", "index.h5"};
    for (std::size_t rank = 0; rank < nodes().size(); ++rank) {
      if (nodes()[rank] == all[i] || nodes()[rank] == all[(i + all.size() - 1) % all.size()]) {
        expected.push_back("rank-0000" + std::to_string(rank) + ".h5");
      }
    }
    EXPECT_EQ(names_in(hosts.step_of(all[i], 3)), expected);
    EXPECT_THAT(names_in(hosts.of(all[i]) / ("node-" + std::to_string(all[i]))), ElementsAre("step-00000003"));
  }
}

TEST_P(PartnerPlacements, an_overlapped_save_restores_too) {
  run(nodes(), [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, nodes()));
    RankState state(world, 3);
    saver.save(state.contents, true);
    for (std::size_t i = 0; i < test::shapes().size(); ++i) {
      if (test::shapes()[i].buffer) std::ranges::fill(state.memory[i], -1.0F);
    }
    saver.wait_until_staged();
    state.overwrite();
    EXPECT_THAT(saver.finish().value().failure, IsEmpty());
  });
  hosts.lose(nodes().front());
  expect_restores(hosts, nodes(), 3);
}

INSTANTIATE_TEST_SUITE_P(Nodes, PartnerPlacements,
                         testing::Values(Nodes{0, 1}, Nodes{0, 0, 1}, Nodes{0, 1, 1}, Nodes{4, 7, 9}, Nodes{0, 0, 1, 1},
                                         Nodes{0, 1, 0, 1}, Nodes{0, 0, 0, 1}, Nodes{0, 0, 0, 1, 2},
                                         Nodes{0, 1, 1, 2, 2}));

TEST(PartnerSaver, poll_brings_a_save_to_its_end) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    EXPECT_FALSE(saver.poll().has_value());
    const RankState state(world, 5);
    saver.save(state.contents);
    EXPECT_TRUE(saver.in_flight());
    EXPECT_THROW(saver.save(state.contents), UsageError);
    std::optional<SaveOutcome> outcome;
    while (!(outcome = saver.poll())) std::this_thread::yield();
    EXPECT_THAT(outcome->failure, IsEmpty());
    EXPECT_THAT(outcome->warnings, IsEmpty());
    EXPECT_EQ(outcome->step, 5);
    EXPECT_EQ(outcome->path, hosts.step_of(world.rank() / 2, 5));
    EXPECT_FALSE(saver.in_flight());
    EXPECT_FALSE(saver.finish().has_value());
  });
}

TEST(PartnerSaver, keeps_the_newest_two) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    for (std::int64_t step = 1; step <= 4; ++step) {
      const SaveOutcome outcome = save(world, saver, step);
      EXPECT_EQ(outcome.removed, step < 3 ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{step - 2});
    }
  });
  for (const int node : {0, 1}) {
    EXPECT_EQ(list_checkpoints(hosts.step_of(node, 1).parent_path()), (std::vector<std::int64_t>{4, 3}));
  }
}

TEST(PartnerSaver, one_node_is_refused) {
  const Hosts hosts;
  run({0, 0}, [&](Communicator& world) {
    EXPECT_THAT(
        [&] {
          PartnerSaver(world, hosts.options(world, {0, 0}));
        },
        testing::ThrowsMessage<UsageError>(HasSubstr("all ranks are on one node")));
    EXPECT_THAT([&] { PartnerSaver(world, {.folder = hosts.root()}); },
                testing::ThrowsMessage<UsageError>(HasSubstr("all ranks are on one node")));
  });
}

TEST(PartnerSaver, a_single_checkpoint_to_keep_is_refused) {
  const Hosts hosts;
  run({0, 1}, [&](Communicator& world) {
    PartnerOptions options = hosts.options(world, {0, 1});
    options.keep_last = 1;
    EXPECT_THROW(PartnerSaver(world, options), UsageError);
  });
}

TEST(PartnerSaver, node_numbers_of_other_ranks_are_refused) {
  const Hosts hosts;
  run({0, 1}, [&](Communicator& world) {
    EXPECT_THROW(PartnerSaver(world, {.folder = hosts.root(), .nodes = {0, 1, 1}}), UsageError);
    EXPECT_THROW(PartnerSaver(world, {.folder = hosts.root(), .nodes = {0, -1}}), UsageError);
  });
}

TEST(PartnerSaver, a_node_that_cannot_write_fails_the_save_and_not_the_next) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    EXPECT_THAT(save(world, saver, 1).failure, IsEmpty());
    const fs::path folder = hosts.step_of(1, 1).parent_path();
    const fs::path away = hosts.root() / "away";
    if (world.rank() == 2) {
      fs::rename(folder, away);
      std::ofstream(folder) << "a file";
    }
    world.barrier();
    EXPECT_THAT(save(world, saver, 2).failure, AllOf(HasSubstr("rank 2"), HasSubstr("Not a directory")));
    if (world.rank() == 2) {
      fs::remove(folder);
      fs::rename(away, folder);
    }
    world.barrier();
    EXPECT_THAT(save(world, saver, 3).failure, IsEmpty());
  });
  for (const int node : {0, 1}) {
    EXPECT_THAT(names_in(hosts.step_of(node, 1).parent_path()), ElementsAre("step-00000001", "step-00000003"));
  }
}

// Its writer's file exists already: the disk says no in the middle of the save, while messages are under way.
TEST(PartnerSaver, a_copy_that_cannot_be_written_fails_the_save_and_not_the_next) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    const RankState state(world, 1);
    saver.save(state.contents);
    if (world.rank() == 3) {
      for (const auto& entry : fs::directory_iterator(hosts.step_of(1, 1).parent_path())) {
        std::ofstream(entry.path() / "rank-00001.h5") << "in the way";
      }
    }
    world.barrier();
    EXPECT_THAT(saver.finish().value().failure, AllOf(HasSubstr("rank 3"), HasSubstr("File exists")));
    EXPECT_THAT(save(world, saver, 2).failure, IsEmpty());
  });
  EXPECT_THAT(names_in(hosts.step_of(1, 1).parent_path()), ElementsAre("step-00000002"));
}

// Node 1's folder is gone when it is to commit.
TEST(PartnerSaver, a_step_that_one_node_could_not_commit_is_withdrawn_from_all) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    EXPECT_THAT(save(world, saver, 1).failure, IsEmpty());
    const RankState state(world, 2);
    saver.save(state.contents);
    if (world.rank() == 2) {
      for (const auto& entry : fs::directory_iterator(hosts.step_of(1, 1).parent_path())) {
        if (entry.path().filename() != "step-00000001") std::ofstream(entry.path() / "index.h5") << "in the way";
      }
    }
    world.barrier();
    EXPECT_THAT(saver.finish().value().failure, AllOf(HasSubstr("rank 2"), HasSubstr("index.h5")));
  });
  for (const int node : {0, 1}) {
    EXPECT_THAT(names_in(hosts.step_of(node, 1).parent_path()), testing::Contains("step-00000001"));
    EXPECT_EQ(list_checkpoints(hosts.step_of(node, 1).parent_path()), std::vector<std::int64_t>{1});
  }
}

TEST(PartnerSaver, replicas_that_differ_are_an_error_and_nothing_is_kept) {
  const Hosts hosts;
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    RankState state(world, 2);
    if (world.rank() == 3) state.memory[1][17] += 1.0F;
    saver.save(state.contents);
    EXPECT_THAT([&] { static_cast<void>(saver.finish()); },
                testing::ThrowsMessage<Error>(AllOf(HasSubstr("/model/fc.weight: "), HasSubstr("rank 3"))));
    EXPECT_THAT(save(world, saver, 3).failure, IsEmpty());
  });
  EXPECT_THAT(names_in(hosts.step_of(0, 3).parent_path()), ElementsAre("step-00000003"));
}

TEST(PartnerSaver, a_step_that_is_saved_again_replaces_the_old_one) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  flip_a_byte(hosts.step_of(0, 2) / "rank-00000.h5");
  save_steps(hosts, kTwoByTwo, {2});
  EXPECT_THAT(names_in(hosts.step_of(0, 2).parent_path()), ElementsAre("step-00000001", "step-00000002"));
  hosts.lose(1);
  expect_restores(hosts, kTwoByTwo, 2);
}

TEST(PartnerSaver, what_killed_savers_left_is_removed_at_the_next_start) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1});
  const fs::path folder = hosts.step_of(1, 1).parent_path();
  fs::create_directories(folder / "step-00000002.tmp-4711-0a1b2c3d" / "x");
  fs::create_directories(folder / ".trash" / "step-00000000-0a1b2c3d");
  run(kTwoByTwo, [&](Communicator& world) {
    const PartnerSaver saver(world, hosts.options(world, kTwoByTwo));
    EXPECT_THAT(names_in(folder), ElementsAre(".trash", "step-00000001"));
    EXPECT_THAT(names_in(folder / ".trash"), IsEmpty());
  });
}

TEST(PartnerSaver, folders_are_for_their_user_alone) {
  const Hosts hosts;
  save_steps(hosts, {0, 1}, {1});
  const auto mode = [](const fs::path& path) { return static_cast<unsigned>(fs::status(path).permissions()) & 0777U; };
  EXPECT_EQ(mode(hosts.of(0) / "node-0"), 0700U);
  EXPECT_EQ(mode(hosts.step_of(0, 1)), 0700U);
  EXPECT_EQ(mode(hosts.step_of(0, 1) / "rank-00001.h5"), 0600U);
}

TEST(PartnerSaver, a_folder_that_is_a_link_is_refused) {
  const Hosts hosts;
  fs::create_directories(hosts.root() / "elsewhere");
  fs::create_directories(hosts.of(1));
  fs::create_directory_symlink(hosts.root() / "elsewhere", hosts.of(1) / "node-1");
  run({0, 1}, [&](Communicator& world) {
    EXPECT_THAT(
        [&] {
          PartnerSaver(world, hosts.options(world, {0, 1}));
        },
        testing::ThrowsMessage<Error>(HasSubstr("another user's")));
  });
}

}  // namespace
}  // namespace lockstep
