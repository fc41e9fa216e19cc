// SPDX-License-Identifier: Apache-2.0
// The campaigns are worth what file_shim sees.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/crash_model.hpp"
#include "checkpoint/operation_log.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/hdf5/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::StrEq;

class FileShim : public ::testing::Test {
 protected:
  FileShim() { fs::create_directory(disk()); }
  ~FileShim() override { file_shim_arm("", ""); }
  void arm(const std::string& mode) { file_shim_arm(disk().c_str(), mode.c_str()); }
  void record() { arm("record:" + (root_ / "log").string()); }
  [[nodiscard]] fs::path disk() const { return root_ / "disk"; }
  [[nodiscard]] std::vector<Operation> recorded() const { return read_operations(root_ / "log"); }
  [[nodiscard]] CrashModel::Disk disk_after(CrashModel::Believes believes, Fates::Rule rule) const {
    const std::vector<Operation> operations = recorded();
    CrashModel model(disk(), believes);
    for (const Operation& operation : operations) model.apply(operation);
    return model.after_crash({.rule = rule});
  }

 private:
  test::TemporaryDirectory root_;
};

std::vector<std::byte> bytes_in(const fs::path& path) {
  const std::string text = read_file(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void write_with_hdf5(const fs::path& path) {
  hdf5::File file = hdf5::File::create(path);
  const std::vector<std::byte> row(1 << 16, std::byte{7});
  file.create_dataset("/row", DType::uint8, std::vector<std::int64_t>{1 << 16});
  file.write_dataset("/row", row);
  file.close();
}

// What the record leads to is what is there: of the C library, std::filesystem and libhdf5, by any thread.
TEST_F(FileShim, records_all_that_changes_files) {
  record();
  fs::create_directories(disk() / "a" / "b");
  std::thread([&] { write_with_hdf5(disk() / "a" / "b" / "file.h5"); }).join();
  write_file_durably(disk() / "a" / "text", "some text");
  fs::rename(disk() / "a", disk() / "c");
  fs::create_directories(disk() / "gone" / "with");
  write_with_hdf5(disk() / "gone" / "with" / "all.h5");
  fs::remove_all(disk() / "gone");
  fs::resize_file(disk() / "c" / "text", 4);
  const CrashModel::Disk recorded_disk = disk_after(CrashModel::Believes::all, Fates::Rule::all_kept);
  std::size_t entries = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(disk())) {
    const std::string name = entry.path().lexically_relative(disk()).string() + (entry.is_directory() ? "/" : "");
    ASSERT_THAT(recorded_disk, Contains(Key(name)));
    if (entry.is_regular_file()) {
      EXPECT_EQ(recorded_disk.at(name), bytes_in(entry.path())) << name;
    }
    ++entries;
  }
  EXPECT_EQ(recorded_disk.size(), entries);
}

TEST_F(FileShim, lets_the_crash_model_keep_what_was_fsynced_and_lose_the_rest) {
  record();
  write_file_durably(disk() / "durable", "x");
  write_file_durably(disk() / "overwritten", "old");
  const FileDescriptor file(::open((disk() / "overwritten").c_str(), O_WRONLY));
  write_all(file.get(), std::as_bytes(std::span("new")), disk());
  fs::create_directory(disk() / "folder");
  const CrashModel::Disk lost = disk_after(CrashModel::Believes::all, Fates::Rule::all_lost);
  EXPECT_THAT(lost, ElementsAre(Key("durable"), Key("overwritten")));
  EXPECT_EQ(lost.at("overwritten").size(), 3U);
  EXPECT_EQ(lost.at("overwritten")[0], std::byte{'o'});
  EXPECT_TRUE(disk_after(CrashModel::Believes::none, Fates::Rule::all_lost).empty());
}

TEST_F(FileShim, fails_the_call_that_was_asked_for_once) {
  arm("fail:1:" + std::to_string(ENOSPC));
  EXPECT_EQ(::mkdir((disk() / "a").c_str(), 0700), 0);
  EXPECT_EQ(::mkdir((disk() / "b").c_str(), 0700), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_THAT(file_shim_failed(), StrEq("mkdir " + (disk() / "b").string()));
  EXPECT_EQ(::mkdir((disk() / "b").c_str(), 0700), 0);
  EXPECT_EQ(file_shim_calls(), 3);
}

TEST_F(FileShim, kills_the_process_before_the_call) {
  EXPECT_EXIT(
      {
        arm("kill:1");
        fs::create_directory(disk() / "a");
        fs::create_directory(disk() / "b");
        std::exit(0);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_TRUE(fs::exists(disk() / "a"));
  EXPECT_FALSE(fs::exists(disk() / "b"));
}

TEST_F(FileShim, makes_locks_fail) {
  const FileDescriptor file(::open((disk() / "lock").c_str(), O_WRONLY | O_CREAT, 0600));
  arm("nolocks");
  EXPECT_EQ(::flock(file.get(), LOCK_EX), -1);
  EXPECT_EQ(errno, ENOLCK);
  arm("");
  EXPECT_EQ(::flock(file.get(), LOCK_EX), 0);
}

TEST_F(FileShim, looks_at_its_folder_alone) {
  const test::TemporaryDirectory elsewhere;
  arm("fail:0:" + std::to_string(EIO) + ":1000");
  EXPECT_EQ(::mkdir((elsewhere / "a").c_str(), 0700), 0);
  EXPECT_EQ(file_shim_calls(), 0);
}

}  // namespace
}  // namespace lockstep::testing
