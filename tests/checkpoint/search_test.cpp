// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/raw_checkpoint.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::checkpoint_error;
using test::names_in;
using test::small_raw_state;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class FindCheckpoint : public testing::Test {
 protected:
  [[nodiscard]] fs::path write(std::int64_t step) const {
    return test::write_raw(folder_.path(), small_raw_state(step), 2);
  }
  static void damage(const fs::path& checkpoint) { test::flip_bit(checkpoint / "rank-00000.h5", 0, 0); }

  test::TemporaryDirectory folder_;
};

TEST_F(FindCheckpoint, takes_the_newest) {
  // By number, not by name: nine digits sort before eight.
  for (const std::int64_t step : {99'999'999, 100'000'000, 7}) static_cast<void>(write(step));
  const CheckpointSearch search = find_checkpoint(folder_.path(), 2);
  EXPECT_TRUE(test::holds(search.newest_good.value(), small_raw_state(100'000'000)));
  EXPECT_THAT(search.damaged, IsEmpty());
}

TEST_F(FindCheckpoint, falls_back_past_damaged_ones_and_tells_why) {
  damage(write(1));
  static_cast<void>(write(2));
  damage(write(3));
  fs::remove(write(4) / "MANIFEST");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_TRUE(test::holds(search.newest_good.value(), small_raw_state(2)));
  ASSERT_THAT(search.damaged, SizeIs(2)) << "newer than the good one only";
  EXPECT_EQ(search.damaged[0].path, folder_.path() / "step-00000004");
  EXPECT_THAT(search.damaged[0].reason, HasSubstr("MANIFEST: No such file or directory"));
  EXPECT_EQ(search.damaged[1].path, folder_.path() / "step-00000003");
  EXPECT_THAT(search.damaged[1].reason, AllOf(HasSubstr("rank-00000.h5"), HasSubstr("damaged: metadata")));
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
  test::write_bytes(folder_.path() / "step-00000008", "a file");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_EQ(search.newest_good.value().step(), 1);
  EXPECT_THAT(search.damaged, IsEmpty());
}

TEST_F(FindCheckpoint, does_not_believe_a_name_that_its_manifest_contradicts) {
  static_cast<void>(write(1));
  fs::rename(write(2), folder_.path() / "step-00000009");
  const CheckpointSearch search = find_checkpoint(folder_.path());
  EXPECT_EQ(search.newest_good.value().step(), 1);
  ASSERT_THAT(search.damaged, SizeIs(1));
  EXPECT_THAT(search.damaged[0].reason, HasSubstr("its MANIFEST says step 2"));
}

TEST_F(FindCheckpoint, fails_on_a_path_that_is_no_folder) {
  test::write_bytes(folder_.path() / "file", "");
  EXPECT_THAT(checkpoint_error([&] { static_cast<void>(find_checkpoint(folder_.path() / "file")); }),
              HasSubstr("Not a directory"));
}

// Gives up the rights of root, which may look everywhere, while it lives.
class AsNobody {
 public:
  AsNobody() : before_(::geteuid()) {
    if (before_ == 0 && ::seteuid(65534) != 0) ADD_FAILURE() << "seteuid";
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (::geteuid() != before_ && ::seteuid(before_) != 0) ADD_FAILURE() << "seteuid";
  }

 private:
  uid_t before_;
};

class ForbiddenCheckpoint : public FindCheckpoint, public testing::WithParamInterface<const char*> {};

// An older checkpoint would silently cost a day of training; a person can give the permission back.
TEST_P(ForbiddenCheckpoint, is_no_damage_and_stops_the_search) {
  ::chmod(folder_.path().c_str(), 0755);
  static_cast<void>(write(1));
  static_cast<void>(write(2));
  const fs::path forbidden = folder_.path() / GetParam();
  const fs::perms before = fs::status(forbidden).permissions();
  fs::permissions(forbidden, fs::perms::none);
  std::string error;
  {
    const AsNobody nobody;
    error = checkpoint_error([&] { static_cast<void>(find_checkpoint(folder_.path())); });
  }
  fs::permissions(forbidden, before);
  EXPECT_THAT(error, AllOf(HasSubstr(GetParam()), HasSubstr("Permission denied")));
}

INSTANTIATE_TEST_SUITE_P(All, ForbiddenCheckpoint,
                         testing::Values("", "step-00000002", "step-00000002/MANIFEST", "step-00000002/rank-00001.h5"),
                         test::case_name<testing::TestParamInfo<const char*>>);

TEST_F(FindCheckpoint, a_newer_schema_is_no_damage_and_stops_the_search) {
  static_cast<void>(write(1));
  const std::string body = "{\"schema_version\":3}\n";
  const fs::path newer = write(2);
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(body)));
  test::write_bytes(newer / "MANIFEST", fmt::format("{}crc32c {:08x}\n", body, crc));
  EXPECT_THAT(checkpoint_error([&] { static_cast<void>(find_checkpoint(folder_.path())); }),
              AllOf(HasSubstr("step-00000002/MANIFEST"), HasSubstr("schema_version 3"), HasSubstr("reads up to 2"),
                    HasSubstr("use the lockstep that wrote it, or a newer one")));
}

TEST_F(FindCheckpoint, changes_nothing_on_disk) {
  damage(write(2));
  fs::create_directory(folder_.path() / "step-00000003.tmp-1-00000000");
  const auto before = names_in(folder_.path());
  static_cast<void>(find_checkpoint(folder_.path()));
  EXPECT_EQ(names_in(folder_.path()), before);
}

TEST_F(FindCheckpoint, ignores_what_was_set_aside) {
  static_cast<void>(write(1));
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

TEST(ListCheckpoints, gives_the_steps_of_all_newest_first_without_opening_them) {
  const test::TemporaryDirectory folder;
  for (const char* name : {"step-00000002", "step-100000000", "step-00000010", "step-00000003.tmp-1-00000000"}) {
    fs::create_directory(folder.path() / name);
  }
  EXPECT_THAT(list_checkpoints(folder.path()), ElementsAre(100'000'000, 10, 2));
  EXPECT_EQ(checkpoint_path(folder.path(), 10), folder.path() / "step-00000010");
}

}  // namespace
}  // namespace lockstep
