// SPDX-License-Identifier: Apache-2.0
// No damaged byte is ever believed, and none reaches libhdf5, which can crash on it.
#include "lockstep/base/crc32c.hpp"
#include "format/manifest.hpp"
#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Larger than one block, so that a block can lie within a tensor.
SampleState two_block_state() {
  SampleState state = small_state(3);
  state.add("/model/large", DType::float32, {5 << 18});
  return state;
}

std::string open_error(const fs::path& path) {
  return checkpoint_error([&] { static_cast<void>(Checkpoint::open(path)); });
}

class DamagedFile : public testing::TestWithParam<const char*> {
 protected:
  DamagedFile() : path_(write_checkpoint(folder_.path(), two_block_state().contents)), file_(path_ / GetParam()) {}

  test::TemporaryDirectory folder_;
  fs::path path_;
  fs::path file_;
};

TEST_P(DamagedFile, a_flipped_bit_anywhere_is_detected_and_names_the_file) {
  constexpr std::uint64_t kPositions = 200;
  const std::uint64_t size = fs::file_size(file_);
  for (std::uint64_t i = 0; i < kPositions; ++i) {
    const std::uint64_t offset = i * (size - 1) / (kPositions - 1);
    flip_bit(file_, offset, i % 8);
    ASSERT_THAT(open_error(path_), HasSubstr(GetParam())) << "byte " << offset;
    flip_bit(file_, offset, i % 8);
  }
  expect_holds(Checkpoint::open(path_), two_block_state());
}

TEST_P(DamagedFile, another_length_is_detected_and_names_the_file) {
  const std::uint64_t size = fs::file_size(file_);
  // Longest first, so that nothing but the length differs from the original; the added byte is a zero.
  for (const std::uint64_t length : {size + 1, size - 1, size / 2, std::uint64_t{1}, std::uint64_t{0}}) {
    fs::resize_file(file_, length);
    EXPECT_THAT(open_error(path_), HasSubstr(GetParam())) << length << " bytes";
  }
}

TEST_P(DamagedFile, its_absence_is_detected_and_names_it) {
  fs::remove(file_);
  EXPECT_THAT(open_error(path_), AllOf(HasSubstr(GetParam()), HasSubstr("No such file or directory")));
}

TEST_P(DamagedFile, a_link_in_its_place_is_refused) {
  fs::rename(file_, folder_.path() / "elsewhere");
  fs::create_symlink(folder_.path() / "elsewhere", file_);
  EXPECT_THAT(open_error(path_), HasSubstr(GetParam()));
}

TEST_P(DamagedFile, a_folder_in_its_place_is_refused) {
  fs::remove(file_);
  fs::create_directory(file_);
  EXPECT_THAT(open_error(path_), AllOf(HasSubstr(GetParam()), HasSubstr("not a regular file")));
}

INSTANTIATE_TEST_SUITE_P(All, DamagedFile, testing::Values("MANIFEST", "state.h5"),
                         [](const auto& file) { return file.index == 0 ? "manifest" : "state"; });

class DamagedPayload : public testing::Test {
 protected:
  DamagedPayload() : path_(write_checkpoint(folder_.path(), two_block_state().contents)) {}
  [[nodiscard]] Manifest manifest() const { return parse_manifest(read_text(path_ / "MANIFEST"), "MANIFEST"); }
  // Replaces the manifest by one that verifies.
  void forge(const Manifest& manifest) const { write_text(path_ / "MANIFEST", print_manifest(manifest)); }

  test::TemporaryDirectory folder_;
  fs::path path_;
};

TEST_F(DamagedPayload, the_error_names_the_damaged_tensor_and_no_other) {
  for (const DatasetRecord& record : manifest().tensors) {
    flip_bit(path_ / "state.h5", record.offset + record.bytes / 2, 3);
    EXPECT_THAT(open_error(path_), testing::ContainsRegex("damaged: " + record.name + "\\."));
    flip_bit(path_ / "state.h5", record.offset + record.bytes / 2, 3);
  }
}

TEST_F(DamagedPayload, the_error_names_the_damaged_blob) {
  flip_bit(path_ / "state.h5", manifest().blobs[0].offset, 0);
  EXPECT_THAT(open_error(path_), HasSubstr("damaged: /blobs/loader"));
}

TEST_F(DamagedPayload, the_error_says_metadata_when_no_tensor_is_hurt) {
  flip_bit(path_ / "state.h5", 9, 0);  // the superblock
  EXPECT_THAT(open_error(path_), HasSubstr("damaged: metadata"));
}

TEST_F(DamagedPayload, a_manifest_that_contradicts_the_datasets_is_refused) {
  Manifest forged = manifest();
  forged.tensors[0].dtype = DType::int32;  // as long as the float32 that it is
  forge(forged);
  EXPECT_THAT(open_error(path_), AllOf(HasSubstr("/model/conv1.bias is float32 [32]"), HasSubstr("says int32 [32]")));
}

TEST_F(DamagedPayload, a_manifest_with_another_offset_is_refused) {
  Manifest forged = manifest();
  forged.tensors[0].offset += 1;
  forge(forged);
  EXPECT_THAT(open_error(path_), HasSubstr("/model/conv1.bias"));
}

TEST_F(DamagedPayload, a_manifest_with_a_tensor_that_is_not_there_is_refused) {
  Manifest forged = manifest();
  forged.tensors[0].name = "/model/absent";
  forge(forged);
  EXPECT_THAT(open_error(path_), HasSubstr("/model/absent"));
}

TEST_F(DamagedPayload, bytes_that_change_after_opening_are_seen_by_read) {
  const Checkpoint checkpoint = Checkpoint::open(path_);
  flip_bit(path_ / "state.h5", manifest().tensors[0].offset, 0);
  EXPECT_THAT(checkpoint_error([&] { static_cast<void>(read_tensor(checkpoint, "/model/conv1.bias")); }),
              AllOf(HasSubstr("/model/conv1.bias"), HasSubstr("do not match their CRC-32C")));
}

TEST_F(DamagedPayload, a_file_cut_short_after_opening_is_seen_by_read) {
  const Checkpoint checkpoint = Checkpoint::open(path_);
  fs::resize_file(path_ / "state.h5", 1);
  EXPECT_THAT(checkpoint_error([&] { static_cast<void>(read_tensor(checkpoint, "/model/conv1.bias")); }),
              AllOf(HasSubstr("state.h5"), HasSubstr("ended at byte")));
}

TEST(Checkpoint, open_of_nothing_names_the_path) {
  EXPECT_THAT(open_error("/nonexistent/step-00000001"),
              AllOf(HasSubstr("/nonexistent/step-00000001"), HasSubstr("No such file or directory")));
}

}  // namespace
}  // namespace lockstep
