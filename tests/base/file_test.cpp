// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "lockstep/base/error.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) != -1; }

TEST(FileDescriptor, closes_the_old_one_when_another_is_moved_in) {
  const int first = ::dup(STDERR_FILENO);
  const int second = ::dup(STDERR_FILENO);
  {
    FileDescriptor owner(first);
    owner = FileDescriptor(second);
    EXPECT_FALSE(is_open(first));
    EXPECT_EQ(owner.get(), second);
  }
  EXPECT_FALSE(is_open(second));
}

TEST(FileDescriptor, stays_open_when_moved_into_itself) {
  FileDescriptor owner(::dup(STDERR_FILENO));
  auto& same = owner;
  owner = std::move(same);
  EXPECT_TRUE(is_open(owner.get()));
}

TEST(WriteFileDurably, replaces_the_file_and_leaves_no_temporary) {
  const TemporaryDirectory folder;
  write_file_durably(folder / "x", "old and longer");
  write_file_durably(folder / "x", "new");
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(WriteFileDurably, leaves_no_temporary_when_it_fails) {
  const TemporaryDirectory folder;
  std::filesystem::create_directories(folder / "x/inside");
  EXPECT_THROW(write_file_durably(folder / "x", "text"), IoError);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(WriteFileDurably, takes_a_path_without_folder) {
  const TemporaryDirectory folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  EXPECT_NO_THROW(write_file_durably("x", "text"));
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(folder / "x"), "text");
}

TEST(ReadFile, a_missing_file_is_an_error_with_path_and_reason) {
  const TemporaryDirectory folder;
  EXPECT_THAT([&] { static_cast<void>(read_file(folder / "gone")); },
              ThrowsMessage<IoError>(AllOf(HasSubstr("/gone"), HasSubstr("No such file or directory (errno 2)"))));
}

TEST(ReadFile, returns_more_than_one_block_with_all_bytes) {
  const TemporaryDirectory folder;
  const std::string text = std::string(200'000, 'x') + '\0' + "end";
  write_file_durably(folder / "x", text);
  EXPECT_EQ(read_file(folder / "x"), text);
}

TEST(WriteAll, a_full_device_is_an_error_with_path_and_reason) {
  const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full);
  const std::byte byte{};
  EXPECT_THAT([&] { write_all(full.get(), std::span(&byte, 1), "/dev/full"); },
              ThrowsMessage<IoError>(AllOf(HasSubstr("/dev/full"), HasSubstr("No space left on device"))));
}

TEST(FileLock, a_second_one_is_refused_and_told_who_has_it) {
  const TemporaryDirectory folder;
  const auto first = FileLock::try_lock(folder / "lock", "pid 4711 on n07");
  ASSERT_TRUE(first.held());
  EXPECT_EQ(first.other_holder(), "");
  const auto second = FileLock::try_lock(folder / "lock", "pid 4712 on n08");
  EXPECT_FALSE(second.held());
  EXPECT_EQ(second.other_holder(), "pid 4711 on n07");
}

TEST(FileLock, is_free_again_when_dropped) {
  const TemporaryDirectory folder;
  { const auto first = FileLock::try_lock(folder / "lock", "a first, longer note"); }
  EXPECT_TRUE(FileLock::try_lock(folder / "lock", "second").held());
  EXPECT_EQ(read_file(folder / "lock"), "second");
}

TEST(FileLock, is_free_again_when_its_process_was_killed) {
  // A run that was killed must not keep its folder.
  const TemporaryDirectory folder;
  const auto child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::try_lock(folder / "lock", "child");
    ::raise(lock.held() ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(read_file(folder / "lock"), "child");
  EXPECT_TRUE(FileLock::try_lock(folder / "lock", "parent").held());
}

}  // namespace
}  // namespace lockstep
