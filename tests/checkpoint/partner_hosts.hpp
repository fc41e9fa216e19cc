// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/comm/local.hpp"
#include "rank_state.hpp"
#include "support/temporary_directory.hpp"

// Ranks that are threads, on nodes that are folders, for tests of partner copies.
namespace lockstep::test {

using Nodes = std::vector<int>;  // the node of each rank

// Hosts are folders: what lies in another one is only reached by messages.
class Hosts {
 public:
  // As if each node were a host with local storage of its own.
  [[nodiscard]] std::filesystem::path of(int node) const { return root_ / ("host" + std::to_string(node)); }
  [[nodiscard]] std::filesystem::path step_of(int node, std::int64_t step) const {
    return checkpoint_path(of(node) / ("node-" + std::to_string(node)), step);
  }
  [[nodiscard]] PartnerOptions options(const Communicator& world, const Nodes& nodes) const {
    return {.folder = of(nodes.at(static_cast<std::size_t>(world.rank()))), .nodes = nodes};
  }
  void lose(int node) const { std::filesystem::remove_all(of(node)); }
  [[nodiscard]] const std::filesystem::path& root() const { return root_.path(); }

 private:
  const TemporaryDirectory root_;
};

template <class Body>
void run(const Nodes& nodes, Body body) {
  run_local_ranks(static_cast<int>(nodes.size()), body);
}

inline SaveOutcome save(Communicator& world, PartnerSaver& saver, std::int64_t step) {
  const RankState state(world, step);
  saver.save(state.contents);
  return saver.finish().value();
}

inline void save_steps(const Hosts& hosts, const Nodes& nodes, const std::vector<std::int64_t>& steps) {
  run(nodes, [&](Communicator& world) {
    PartnerSaver saver(world, hosts.options(world, nodes));
    for (const std::int64_t step : steps) EXPECT_THAT(save(world, saver, step).failure, ::testing::IsEmpty());
  });
}

// Every rank finds `step` whole on its node; 0: nobody finds any.
inline void expect_restores(const Hosts& hosts, const Nodes& nodes, std::int64_t step, std::size_t damaged = 0) {
  run(nodes, [&](Communicator& world) {
    const AgreedSearch search = restore_from_partners(world, hosts.options(world, nodes));
    EXPECT_EQ(search.damaged.size(), damaged);
    if (step == 0) {
      EXPECT_THAT(search.newest_good.string(), ::testing::IsEmpty());
      return;
    }
    const int node = nodes.at(static_cast<std::size_t>(world.rank()));
    EXPECT_EQ(search.newest_good, hosts.step_of(node, step));
    expect_holds_step(search.newest_good, step);
  });
}

inline const Nodes kTwoByTwo{0, 0, 1, 1};

inline void flip_a_byte(const std::filesystem::path& file) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(70'000);
  const auto byte = static_cast<char>(stream.get() ^ 1);
  stream.seekp(70'000).put(byte);
  ASSERT_TRUE(stream.good());
}

}  // namespace lockstep::test
