// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/partner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/local.hpp"
#include "partner_hosts.hpp"
#include "rank_state.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using namespace test;  // NOLINT(google-build-using-namespace): all of partner_hosts.hpp
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(RestoreFromPartners, finds_nothing_where_nothing_was_saved) {
  const Hosts hosts;
  expect_restores(hosts, kTwoByTwo, 0);
}

TEST(RestoreFromPartners, takes_the_newest_step) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  expect_restores(hosts, kTwoByTwo, 2);
}

TEST(RestoreFromPartners, a_damaged_file_is_replaced_by_its_copy) {
  for (const int node : {0, 1}) {
    for (const std::string name : {"rank-00000.h5", "rank-00003.h5"}) {
      const Hosts hosts;
      save_steps(hosts, kTwoByTwo, {1, 2});
      flip_a_byte(hosts.step_of(node, 2) / name);
      expect_restores(hosts, kTwoByTwo, 2);
    }
  }
}

TEST(RestoreFromPartners, a_damaged_manifest_is_replaced_by_another_nodes) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  flip_a_byte(hosts.step_of(1, 2) / "rank-00001.h5");
  std::ofstream(hosts.step_of(1, 2) / "MANIFEST") << "{}";
  expect_restores(hosts, kTwoByTwo, 2);
}

TEST(RestoreFromPartners, an_older_step_is_taken_if_both_copies_of_a_file_are_lost) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  flip_a_byte(hosts.step_of(0, 2) / "rank-00001.h5");
  fs::remove(hosts.step_of(1, 2) / "rank-00001.h5");
  run(kTwoByTwo, [&](Communicator& world) {
    const AgreedSearch search = restore_from_partners(world, hosts.options(world, kTwoByTwo));
    ASSERT_EQ(search.damaged.size(), 1U);
    EXPECT_THAT(search.damaged[0].reason, HasSubstr("rank-00001.h5"));
    expect_holds_step(search.newest_good, 1);
  });
}

TEST(RestoreFromPartners, two_nodes_side_by_side_are_too_many) {
  const Hosts hosts;
  save_steps(hosts, {0, 1, 2}, {1});
  hosts.lose(0);
  hosts.lose(1);
  expect_restores(hosts, {0, 1, 2}, 0, 1);
}

TEST(RestoreFromPartners, every_second_node_may_be_lost) {
  const Hosts hosts;
  save_steps(hosts, {0, 1, 2, 3}, {1});
  hosts.lose(0);
  hosts.lose(2);
  expect_restores(hosts, {0, 1, 2, 3}, 1);
}

TEST(RestoreFromPartners, other_ranks_on_other_nodes_may_restore) {
  for (const Nodes& nodes : {Nodes{0}, Nodes{0, 1}, Nodes{0, 0, 1}, Nodes{0, 1, 2}, Nodes{1, 1, 1, 1, 5}}) {
    const Hosts hosts;
    save_steps(hosts, kTwoByTwo, {1, 2});
    expect_restores(hosts, nodes, 2);
  }
}

// The host that was node 1 is node 0 now, and a new one is node 1.
TEST(RestoreFromPartners, node_numbers_may_change) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  fs::remove_all(hosts.of(0));
  fs::rename(hosts.of(1), hosts.of(0));
  expect_restores(hosts, kTwoByTwo, 2);
  EXPECT_THAT(names_in(hosts.of(0)), ElementsAre("node-0", "node-1")) << "the other could be node 1's, on a shared disk";
}

TEST(RestoreFromPartners, folders_of_numbers_that_no_node_has_are_removed) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  fs::rename(hosts.of(1) / "node-1", hosts.of(1) / "node-7");
  expect_restores(hosts, kTwoByTwo, 2);
  EXPECT_THAT(names_in(hosts.of(1)), ElementsAre("node-1"));
}

TEST(RestoreFromPartners, nodes_of_one_host_share_its_folder) {
  const test::TemporaryDirectory host;
  const auto options = [&](const Nodes& nodes) { return PartnerOptions{.folder = host.path(), .nodes = nodes}; };
  run(kTwoByTwo, [&](Communicator& world) {
    PartnerSaver saver(world, options(kTwoByTwo));
    EXPECT_THAT(save(world, saver, 1).failure, IsEmpty());
  });
  EXPECT_THAT(names_in(host.path()), ElementsAre("node-0", "node-1"));
  const Nodes three{0, 2, 3};
  run(three, [&](Communicator& world) {
    const AgreedSearch search = restore_from_partners(world, options(three));
    expect_holds_step(search.newest_good, 1);
  });
  EXPECT_THAT(names_in(host.path()), ElementsAre("node-0", "node-2", "node-3"));
}

TEST(RestoreFromPartners, a_second_restore_changes_nothing) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1});
  expect_restores(hosts, kTwoByTwo, 1);
  const auto inode = [&] {
    struct stat status {};
    EXPECT_EQ(::stat(hosts.step_of(0, 1).c_str(), &status), 0);
    return status.st_ino;
  };
  const auto before = inode();
  expect_restores(hosts, kTwoByTwo, 1);
  EXPECT_EQ(inode(), before);
}

TEST(RestoreFromPartners, saving_goes_on_afterwards) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1, 2});
  hosts.lose(1);
  expect_restores(hosts, kTwoByTwo, 2);
  save_steps(hosts, kTwoByTwo, {3, 4});
  EXPECT_EQ(list_checkpoints(hosts.step_of(1, 4).parent_path()), (std::vector<std::int64_t>{4, 3}));
  hosts.lose(0);
  expect_restores(hosts, kTwoByTwo, 4);
}

TEST(RestoreFromPartners, a_node_that_cannot_write_is_named_and_nothing_is_lost) {
  const Hosts hosts;
  save_steps(hosts, kTwoByTwo, {1});
  hosts.lose(1);
  std::ofstream(hosts.of(1)) << "a file";
  run(kTwoByTwo, [&](Communicator& world) {
    EXPECT_THAT([&] { static_cast<void>(restore_from_partners(world, hosts.options(world, kTwoByTwo))); },
                testing::ThrowsMessage<Error>(HasSubstr(hosts.of(1).string())));
  });
  fs::remove(hosts.of(1));
  expect_restores(hosts, kTwoByTwo, 1);
}

}  // namespace
}  // namespace lockstep
