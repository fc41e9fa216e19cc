// SPDX-License-Identifier: Apache-2.0
#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class FindCheckpoint : public testing::Test {
 protected:
  fs::path write(std::int64_t step) const { return write_checkpoint(folder_.path(), small_state(step).contents); }
  static void damage(const fs::path& checkpoint) { flip_bit(checkpoint / "state.h5", 0, 0); }

  test::TemporaryDirectory folder_;
};

TEST_F(FindCheckpoint, takes_the_newest) {
  // By number, not by name: nine digits sort before eight.
  for (const std::int64_t step : {99'999'999, 100'000'000, 7}) write(step);
  const CheckpointSearch search = find_checkpoint(folder_.path());
  expect_holds(search.newest_good.value(), small_state(100'000'000));
  EXPECT_THAT(search.damaged, IsEmpty());
}

TEST_F(FindCheckpoint, falls_back_past_damaged_ones_and_tells_why) {
  damage(write(1));
  write(2);
  damage(write(3));
  fs::remove(write(4) / "MANIFEST");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  expect_holds(search.newest_good.value(), small_state(2));
  ASSERT_THAT(search.damaged, SizeIs(2)) << "newer than the good one only";
  EXPECT_EQ(search.damaged[0].path, folder_.path() / "step-00000004");
  EXPECT_THAT(search.damaged[0].reason, HasSubstr("MANIFEST: No such file or directory"));
  EXPECT_EQ(search.damaged[1].path, folder_.path() / "step-00000003");
  EXPECT_THAT(search.damaged[1].reason, HasSubstr("damaged: metadata"));
}

TEST_F(FindCheckpoint, lists_all_when_none_is_good) {
  damage(write(1));
  damage(write(2));
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_FALSE(search.newest_good.has_value());
  EXPECT_THAT(search.damaged, SizeIs(2));
}

TEST_F(FindCheckpoint, finds_nothing_where_there_is_nothing) {
  EXPECT_FALSE(find_checkpoint(folder_.path()).newest_good.has_value());
  const CheckpointSearch search = find_checkpoint(folder_.path() / "absent");
  EXPECT_FALSE(search.newest_good.has_value());
  EXPECT_THAT(search.damaged, IsEmpty());
}

TEST_F(FindCheckpoint, looks_at_exact_names_of_real_folders_only) {
  const fs::path path = write(1);
  const auto copy = [&](const char* name) { fs::copy(path, folder_.path() / name, fs::copy_options::recursive); };
  for (const char* name : {"step-00000009.tmp-12-0a0b0c0d", "step-00000009.damaged-17", "step-9", "step-000000009",
                           "step-0000000x", "xstep-00000009", "step-99999999999999999999", "step--0000009"}) {
    copy(name);
  }
  fs::create_directory_symlink(path, folder_.path() / "step-00000009");
  write_text(folder_.path() / "step-00000008", "a file");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_EQ(search.newest_good.value().step(), 1);
  EXPECT_THAT(search.damaged, IsEmpty());
}

TEST_F(FindCheckpoint, does_not_believe_a_name_that_its_manifest_contradicts) {
  write(1);
  fs::rename(write(2), folder_.path() / "step-00000009");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_EQ(search.newest_good.value().step(), 1);
  ASSERT_THAT(search.damaged, SizeIs(1));
  EXPECT_THAT(search.damaged[0].reason, HasSubstr("its manifest says step 2"));
}

TEST_F(FindCheckpoint, fails_on_a_path_that_is_no_folder) {
  write_text(folder_.path() / "file", "");
  EXPECT_THAT(checkpoint_error([&] { static_cast<void>(find_checkpoint(folder_.path() / "file")); }),
              HasSubstr("Not a directory"));
}

TEST_F(FindCheckpoint, changes_nothing_on_disk) {
  damage(write(2));
  fs::create_directory(folder_.path() / "step-00000003.tmp-1-00000000");
  const auto before = names_in(folder_.path());
  static_cast<void>(find_checkpoint(folder_.path()));
  EXPECT_EQ(names_in(folder_.path()), before);
}

TEST_F(FindCheckpoint, ignores_what_was_set_aside) {
  write(1);
  const fs::path damaged = write(2);
  damage(damaged);
  const fs::path aside = set_aside(damaged);
  EXPECT_FALSE(fs::exists(damaged));
  EXPECT_TRUE(fs::exists(aside / "MANIFEST"));
  EXPECT_THAT(aside.filename().string(), testing::MatchesRegex("step-00000002\\.damaged-[0-9]+"));
  EXPECT_THAT(find_checkpoint(folder_.path()).damaged, IsEmpty());
}

TEST_F(FindCheckpoint, set_aside_twice_in_a_second_keeps_both) {
  std::vector<fs::path> aside;
  for (int i = 0; i < 3; ++i) aside.push_back(set_aside(write(2)));
  for (const fs::path& path : aside) EXPECT_TRUE(fs::exists(path / "MANIFEST"));
  EXPECT_THAT(names_in(folder_.path()), SizeIs(3));
}

TEST_F(FindCheckpoint, set_aside_of_nothing_throws) {
  EXPECT_THAT(checkpoint_error([&] { set_aside(folder_.path() / "step-00000001"); }),
              HasSubstr("No such file or directory"));
}

TEST(RemoveUnfinishedCheckpoints, removes_temporary_folders_and_nothing_else) {
  const test::TemporaryDirectory folder;
  write_checkpoint(folder.path(), small_state(1).contents);
  for (const char* name :
       {"step-00000002.tmp-12-0a0b0c0d", "step-00000001.damaged-17", "notes.tmp-1-2", "step-2.tmp-1"}) {
    fs::create_directory(folder.path() / name);
    write_text(folder.path() / name / "state.h5", "half");
  }
  remove_unfinished_checkpoints(folder.path());
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("notes.tmp-1-2", "step-00000001", "step-00000001.damaged-17", "step-2.tmp-1"));
}

TEST(RemoveUnfinishedCheckpoints, has_nothing_to_do_in_a_folder_that_does_not_exist) {
  const test::TemporaryDirectory folder;
  EXPECT_NO_THROW(remove_unfinished_checkpoints(folder.path() / "absent"));
}

}  // namespace
}  // namespace lockstep
