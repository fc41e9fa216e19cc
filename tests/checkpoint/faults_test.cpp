// SPDX-License-Identifier: Apache-2.0
// Disks that fill up and writers that are killed: the older checkpoint is always there.
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <set>

#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::ExitedWithCode;
using testing::HasSubstr;

TEST(WriteCheckpoint, into_a_path_that_is_a_file_throws_with_the_systems_reason) {
  const test::TemporaryDirectory folder;
  write_text(folder.path() / "file", "");
  EXPECT_THAT(checkpoint_error([&] { write_checkpoint(folder.path() / "file", small_state(1).contents); }),
              AllOf(HasSubstr("file/step-00000001"), HasSubstr("Not a directory")));
}

// Fails every write past this size in a file with EFBIG, which looks like a full disk.
void limit_file_size(rlim_t bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

struct DiskLimit {
  rlim_t bytes;
  std::int64_t elements;  // of the large tensor
};

class FullDisk : public testing::TestWithParam<DiskLimit> {};

TEST_P(FullDisk, fails_the_write_and_leaves_the_older_checkpoint_alone) {
  const test::TemporaryDirectory folder;
  const SampleState older = small_state(1);
  write_checkpoint(folder.path(), older.contents);
  SampleState newer = small_state(2);
  newer.add("/model/large", DType::float32, {GetParam().elements});
  EXPECT_EXIT(
      {
        limit_file_size(GetParam().bytes);
        try {
          write_checkpoint(folder.path(), newer.contents);
        } catch (const CheckpointError& error) {
          limit_file_size(RLIM_INFINITY);  // standard error is a file here
          std::cerr << error.what() << std::endl;
          std::exit(74);
        }
        std::exit(0);
      },
      ExitedWithCode(74), "step-00000002");  // libhdf5, which lays the file out in memory, does not tell why
  EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-00000001"));
  expect_holds(find_checkpoint(folder.path()).newest_good.value(), older);
}

TEST_P(FullDisk, does_not_hinder_the_next_save) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(2);
  state.add("/model/large", DType::float32, {GetParam().elements});
  EXPECT_EXIT(
      {
        limit_file_size(GetParam().bytes);
        checkpoint_error([&] { write_checkpoint(folder.path(), state.contents); });
        limit_file_size(RLIM_INFINITY);
        write_checkpoint(folder.path(), state.contents);
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      ExitedWithCode(0), "");
  expect_holds(find_checkpoint(folder.path()).newest_good.value(), state);
}

INSTANTIATE_TEST_SUITE_P(All, FullDisk,
                         testing::Values(DiskLimit{100, 1}, DiskLimit{70'000, 1 << 16}, DiskLimit{1 << 20, 1 << 19}),
                         [](const auto& limit) { return "at_byte_" + std::to_string(limit.param.bytes); });

// Runs `action` in a child whose mounts are its own. Returns its exit status.
template <class Action>
int run_with_own_mounts(Action&& action) {
  constexpr int kNotAllowed = 77;
  const pid_t child = ::fork();
  if (child == 0) {
    const bool allowed =
        ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ::_exit(allowed ? action() : kNotAllowed);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(WriteCheckpoint, into_a_full_file_system_fails_and_keeps_the_older_one) {
  const test::TemporaryDirectory folder;
  const SampleState older = small_state(1);
  SampleState newer = small_state(2);
  newer.add("/model/large", DType::float32, {1 << 19});
  const int status = run_with_own_mounts([&] {
    if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") != 0) return 77;
    write_checkpoint(folder.path(), older.contents);
    const std::string error = checkpoint_error([&] { write_checkpoint(folder.path(), newer.contents); });
    EXPECT_THAT(error, AllOf(HasSubstr("rank-00000.h5"), HasSubstr("No space left on device")));
    expect_holds(find_checkpoint(folder.path()).newest_good.value(), older);
    EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-00000001"));
    return testing::Test::HasFailure() ? 1 : 0;
  });
  if (status == 77) GTEST_SKIP() << "mounting a small tmpfs needs root";
  EXPECT_EQ(status, 0);
}

// Runs `action` in a child that is killed by SIGKILL just before its system call number `calls` (from 0). Returns how
// many it made: fewer than `calls` if it came to its end.
template <class Action>
int run_until_system_call(int calls, Action&& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    action();
    ::_exit(0);
  }
  int status = 0;
  int made = 0;
  // Each call stops twice, before and after it.
  for (int stops = 0; ::waitpid(child, &status, 0) == child && WIFSTOPPED(status); ++stops) {
    made = stops / 2;
    if (made == calls) ::kill(child, SIGKILL);
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
  }
  return made;
}

TEST(WriteCheckpoint, killed_at_any_system_call_leaves_the_older_or_the_newer_checkpoint) {
  constexpr int kPoints = 20;
  const SampleState older = small_state(1);
  SampleState newer = small_state(2);
  newer.add("/model/large", DType::float32, {1 << 16});
  const auto write_newer = [&](const test::TemporaryDirectory& folder) {
    write_checkpoint(folder.path(), newer.contents);
  };
  const test::TemporaryDirectory undisturbed;
  const int calls = run_until_system_call(-1, [&] { write_newer(undisturbed); });
  ASSERT_TRUE(fs::exists(undisturbed.path() / "step-00000002" / "MANIFEST")) << "ptrace must be allowed here";
  ASSERT_GT(calls, kPoints);

  std::set<std::int64_t> found;
  for (int point = 0; point < kPoints; ++point) {
    const test::TemporaryDirectory folder;
    write_checkpoint(folder.path(), older.contents);
    const int call = point * (calls - 1) / (kPoints - 1);
    ASSERT_LE(run_until_system_call(call, [&] { write_newer(folder); }), call);

    remove_unfinished_checkpoints(folder.path());
    const CheckpointSearch search = find_checkpoint(folder.path());
    ASSERT_TRUE(search.newest_good.has_value()) << "killed at call " << call;
    EXPECT_TRUE(search.damaged.empty()) << search.damaged[0].reason;
    expect_holds(*search.newest_good, search.newest_good->step() == 1 ? older : newer);
    found.insert(search.newest_good->step());
    const auto steps = list_checkpoints(folder.path());
    EXPECT_EQ(steps.size(), static_cast<std::size_t>(search.newest_good->step()));
  }
  EXPECT_THAT(found, ElementsAre(1, 2)) << "the points lie before and after the commit";
}

}  // namespace
}  // namespace lockstep
