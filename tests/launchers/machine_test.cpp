// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace lockstep::launchers {
namespace {

TEST(NvidiaGpus, lists_the_model_of_each) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "lockstep_machine_test_gpus";
  std::filesystem::create_directories(folder / "0000:01:00.0");
  std::ofstream(folder / "0000:01:00.0" / "information") << "Model: \t\t NVIDIA H100\nIRQ:   \t\t 1\n";
  EXPECT_THAT(nvidia_gpus(folder), ::testing::ElementsAre("NVIDIA H100"));
  std::filesystem::remove_all(folder);
}

TEST(NvidiaGpus, finds_none_without_a_driver) { EXPECT_TRUE(nvidia_gpus("/no/such/folder").empty()); }

TEST(Machine, has_at_least_one_core_and_some_memory) {
  const auto machine = look_at_machine();
  EXPECT_GE(machine.cores.size(), 1U);
  EXPECT_LE(machine.cores.size(), static_cast<std::size_t>(machine.cpus));
  EXPECT_GT(machine.memory_bytes, 0);
}

}  // namespace
}  // namespace lockstep::launchers
