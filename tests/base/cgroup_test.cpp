// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/cgroup.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

// A machine whose files are those that a test writes.
class Cgroup : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
  [[nodiscard]] std::string root() const { return folder_.path().string(); }

 private:
  test::TemporaryDirectory folder_;
};

TEST_F(Cgroup, without_limits_says_so) {
  write("proc/self/cgroup", "0::/user.slice\n");
  write("sys/fs/cgroup/user.slice/memory.max", "max\n");
  write("sys/fs/cgroup/user.slice/memory.current", "1000\n");
  write("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_memory_room(root()), std::nullopt);
  EXPECT_EQ(cgroup_cpus(root()), std::nullopt);
}

TEST_F(Cgroup, limits_of_the_groups_above_count) {
  write("proc/self/cgroup", "0::/job.slice/step/task\n");
  write("sys/fs/cgroup/job.slice/memory.max", "5000\n");
  write("sys/fs/cgroup/job.slice/memory.current", "4000\n");
  write("sys/fs/cgroup/job.slice/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/job.slice/step/memory.max", "max\n");
  write("sys/fs/cgroup/job.slice/step/memory.current", "3000\n");
  write("sys/fs/cgroup/job.slice/step/task/memory.max", "8000\n");
  write("sys/fs/cgroup/job.slice/step/task/memory.current", "2000\n");
  write("sys/fs/cgroup/job.slice/step/task/cpu.max", "400000 100000\n");
  EXPECT_EQ(cgroup_memory_room(root()), 1000U);
  EXPECT_EQ(cgroup_cpus(root()), 1.5);
}

TEST_F(Cgroup, a_full_group_has_no_room) {
  write("proc/self/cgroup", "0::/full\n");
  write("sys/fs/cgroup/full/memory.max", "5000\n");
  write("sys/fs/cgroup/full/memory.current", "6000\n");
  EXPECT_EQ(cgroup_memory_room(root()), 0U);
}

TEST_F(Cgroup, cached_files_do_not_count_as_used) {
  write("proc/self/cgroup", "0::/reader\n");
  write("sys/fs/cgroup/reader/memory.max", "5000\n");
  write("sys/fs/cgroup/reader/memory.current", "4900\n");
  write("sys/fs/cgroup/reader/memory.stat", "anon 900\nfile 4000\ninactive_file 3000\n");
  EXPECT_EQ(cgroup_memory_room(root()), 3100U);
}

TEST_F(Cgroup, version_1_is_understood) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/elsewhere\n4:hugetlb,memory:/box\n0::/\n");
  write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "5000\n");
  write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "2000\n");
  EXPECT_EQ(cgroup_memory_room(root()), 3000U);
}

// It is told the host's path of its group and sees that group as the topmost folder.
TEST_F(Cgroup, a_container_finds_its_limits_at_the_top) {
  write("proc/self/cgroup", "0::/docker/0123abcd\n");
  write("sys/fs/cgroup/memory.max", "5000\n");
  write("sys/fs/cgroup/memory.current", "500\n");
  write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_memory_room(root()), 4500U);
  EXPECT_EQ(cgroup_cpus(root()), 0.5);
}

}  // namespace
}  // namespace lockstep
