// SPDX-License-Identifier: Apache-2.0
// No damaged byte is ever believed, and a manifest that someone forged leads nowhere.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "checkpoint/raw_checkpoint.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::Bytes;
using test::checkpoint_error;
using test::flip_bit;
using test::RawState;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string verify_error(const fs::path& path) {
  return checkpoint_error([&] { Checkpoint::open(path).verify(); });
}
std::string open_error(const fs::path& path) {
  return checkpoint_error([&] { static_cast<void>(Checkpoint::open(path)); });
}

class WrittenCheckpoint : public testing::Test {
 protected:
  WrittenCheckpoint() : path_(test::write_raw(folder_.path(), state_, 2)) {}

  test::TemporaryDirectory folder_;
  RawState state_ = test::small_raw_state(3);
  fs::path path_;
};

class DamagedFile : public WrittenCheckpoint, public testing::WithParamInterface<const char*> {
 protected:
  DamagedFile() : file_(path_ / GetParam()) {}
  fs::path file_;
};

TEST_P(DamagedFile, a_flipped_bit_anywhere_is_detected_and_names_the_file) {
  constexpr std::uint64_t kPositions = 200;
  const std::uint64_t size = fs::file_size(file_);
  for (std::uint64_t i = 0; i < kPositions; ++i) {
    const std::uint64_t offset = i * (size - 1) / (kPositions - 1);
    flip_bit(file_, offset, i % 8);
    ASSERT_THAT(verify_error(path_), HasSubstr(GetParam())) << "byte " << offset;
    flip_bit(file_, offset, i % 8);
  }
  EXPECT_TRUE(test::holds(Checkpoint::open(path_), state_));
}

TEST_P(DamagedFile, another_length_is_detected_at_open_and_names_the_file) {
  const std::uint64_t size = fs::file_size(file_);
  // Longest first, so that nothing but the length differs from the original; the added byte is a zero.
  for (const std::uint64_t length : {size + 1, size - 1, size / 2, std::uint64_t{1}, std::uint64_t{0}}) {
    fs::resize_file(file_, length);
    EXPECT_THAT(open_error(path_), HasSubstr(GetParam())) << length << " bytes";
  }
}

TEST_P(DamagedFile, its_absence_is_detected_at_open_and_names_it) {
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

TEST_P(DamagedFile, a_fifo_in_its_place_is_refused_without_waiting_for_a_writer) {
  fs::remove(file_);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  EXPECT_THAT(open_error(path_), AllOf(HasSubstr(GetParam()), HasSubstr("not a regular file")));
}

INSTANTIATE_TEST_SUITE_P(All, DamagedFile, testing::Values("MANIFEST", "rank-00000.h5", "rank-00001.h5", "index.h5"),
                         test::case_name<testing::TestParamInfo<const char*>>);

TEST_F(WrittenCheckpoint, the_error_names_the_bytes_and_the_damaged_tensor_and_no_other) {
  for (const TensorRecord& tensor : test::manifest_of(path_).tensors) {
    for (const PieceRecord& piece : tensor.pieces) {
      const std::uint64_t offset =
          piece.offset + static_cast<std::uint64_t>(piece.elements) * size_of(tensor.dtype) / 2;
      const fs::path file = path_ / part_name(static_cast<int>(piece.file));
      const std::string block = std::to_string(offset / kBlockBytes * kBlockBytes);
      flip_bit(file, offset, 3);
      EXPECT_THAT(verify_error(path_), AllOf(HasSubstr(file.string() + ": bytes " + block + " to "),
                                             testing::ContainsRegex("damaged: " + tensor.name + "\\.")));
      flip_bit(file, offset, 3);
    }
  }
}

TEST_F(WrittenCheckpoint, the_error_says_metadata_when_no_tensor_is_hurt) {
  flip_bit(path_ / "rank-00001.h5", 9, 0);
  EXPECT_THAT(verify_error(path_), HasSubstr("damaged: metadata"));
}

TEST_F(WrittenCheckpoint, the_error_of_a_block_with_many_tensors_names_some_and_counts_the_rest) {
  RawState state{.step = 4};
  for (int i = 0; i < 100; ++i) state.add("/model/" + std::to_string(100 + i), DType::int32, {20});
  const fs::path path = test::write_raw(folder_.path(), state, 1);
  const std::uint64_t size = fs::file_size(path / "rank-00000.h5");
  test::write_bytes(path / "rank-00000.h5", std::string(size, 'x'));
  EXPECT_THAT(verify_error(path), AllOf(HasSubstr("damaged: /model/100, /model/101"), HasSubstr(" and 84 more")));
}

TEST_F(WrittenCheckpoint, bytes_that_change_after_opening_are_seen_by_every_read) {
  const auto& tensor = state_.tensors.at("/model/embedding");
  const Checkpoint checkpoint = Checkpoint::open(path_);
  const Manifest manifest = test::manifest_of(path_);
  for (const PieceRecord& piece : std::ranges::find(manifest.tensors, tensor.name, &TensorRecord::name)->pieces) {
    const fs::path file = path_ / part_name(static_cast<int>(piece.file));
    flip_bit(file, piece.offset, 0);
    const auto names_both = AllOf(HasSubstr(file.string()), HasSubstr("damaged: /model/embedding"));
    EXPECT_THAT(checkpoint_error([&] { static_cast<void>(test::read_tensor(checkpoint, tensor)); }), names_both);
    Bytes element(4);  // by blocks
    const ReadRequest request{tensor.name, piece.first_element, element};
    EXPECT_THAT(checkpoint_error([&] { checkpoint.read({&request, 1}); }), names_both);
    flip_bit(file, piece.offset, 0);
  }
}

TEST_F(WrittenCheckpoint, a_file_cut_short_after_opening_is_seen_by_read) {
  const Checkpoint checkpoint = Checkpoint::open(path_);
  checkpoint.verify();  // now its files are open
  for (const char* name : {"rank-00000.h5", "rank-00001.h5"}) fs::resize_file(path_ / name, 1);
  EXPECT_THAT(checkpoint_error(
                  [&] { static_cast<void>(test::read_tensor(checkpoint, state_.tensors.at("/model/embedding"))); }),
              AllOf(HasSubstr("rank-0000"), HasSubstr("ended at byte")));
}

TEST_F(WrittenCheckpoint, a_file_replaced_after_opening_is_not_read) {
  const Checkpoint checkpoint = Checkpoint::open(path_);
  const std::string same = test::read_text(path_ / "rank-00000.h5");
  fs::rename(path_ / "rank-00000.h5", path_ / "kept");  // so that its inode is not given again
  test::write_bytes(path_ / "rank-00000.h5", same);
  EXPECT_THAT(checkpoint_error([&] { checkpoint.verify(); }), HasSubstr("another file"));
}

// Replaces the manifest by one with a CRC that fits, as whoever forges one would.
class ForgedCheckpoint : public WrittenCheckpoint {
 protected:
  [[nodiscard]] std::string error_of(const Manifest& manifest) const {
    test::write_bytes(path_ / kManifestName, print_manifest(manifest));
    return verify_error(path_);
  }
  Manifest manifest_ = test::manifest_of(path_);
  // One with several pieces.
  TensorRecord& tensor_ = *std::ranges::find(manifest_.tensors, "/model/embedding", &TensorRecord::name);
};

TEST_F(ForgedCheckpoint, does_not_lead_out_of_its_folder) {
  fs::rename(path_ / "index.h5", folder_.path() / "index.h5");
  for (const char* name : {"../index.h5", "/etc/passwd", "..", ".", "", "a/../../index.h5", "MANIFEST"}) {
    manifest_.files.back().name = name;
    EXPECT_THAT(error_of(manifest_), HasSubstr("not a plain file name")) << name;
  }
}

TEST_F(ForgedCheckpoint, sizes_near_2_to_the_63_are_refused_before_anything_is_allocated) {
  for (const std::uint64_t huge : {std::uint64_t{1} << 62, (std::uint64_t{1} << 63) - 1, std::uint64_t{1} << 63}) {
    Manifest forged = manifest_;
    forged.files[0].bytes = huge;
    EXPECT_THAT(error_of(forged), HasSubstr("MANIFEST")) << huge;
    forged = manifest_;
    forged.tensors[0].shape = {static_cast<std::int64_t>(huge)};
    EXPECT_THAT(error_of(forged), HasSubstr("MANIFEST")) << huge;
    forged = manifest_;
    forged.tensors.back().pieces[0].offset = huge;
    EXPECT_THAT(error_of(forged), HasSubstr("MANIFEST")) << huge;
    forged = manifest_;
    forged.block_bytes = huge;
    EXPECT_THAT(error_of(forged), HasSubstr("MANIFEST")) << huge;
  }
}

TEST_F(ForgedCheckpoint, pieces_that_overlap_or_leave_gaps_are_refused) {
  const TensorRecord whole = tensor_;
  ASSERT_GE(whole.pieces.size(), 2U);
  tensor_.pieces[1].first_element -= 1;
  EXPECT_THAT(error_of(manifest_), HasSubstr("/model/embedding"));
  tensor_.pieces[1].first_element += 2;
  EXPECT_THAT(error_of(manifest_), HasSubstr("/model/embedding"));
  tensor_ = whole;
  tensor_.pieces.pop_back();
  EXPECT_THAT(error_of(manifest_), HasSubstr("/model/embedding"));
  tensor_ = whole;
  tensor_.pieces[0].elements = 0;
  EXPECT_THAT(error_of(manifest_), HasSubstr("/model/embedding"));
}

TEST_F(ForgedCheckpoint, a_piece_of_another_place_does_not_pass_its_own_checksum) {
  tensor_.pieces[0].offset -= 1;
  EXPECT_EQ(error_of(manifest_), "no CheckpointError was thrown") << "the files are whole";
  EXPECT_THAT(checkpoint_error([&] {
                static_cast<void>(test::read_tensor(Checkpoint::open(path_), state_.tensors.at("/model/embedding")));
              }),
              HasSubstr("/model/embedding"));
}

// Seconds, not hours: nothing is compared with all that came before it.
TEST_F(ForgedCheckpoint, many_files_are_refused_soon) {
  for (int i = 0; i < 200'000; ++i) manifest_.files.push_back({.name = std::to_string(1'000'000 + i)});
  EXPECT_THAT(error_of(manifest_), HasSubstr("No such file or directory"));
}

TEST_F(ForgedCheckpoint, deep_nesting_is_refused) {
  const std::string body(1'000'000, '[');
  test::write_bytes(path_ / kManifestName,
                    fmt::format("{}crc32c {:08x}\n", body, crc32c(std::as_bytes(std::span(body)))));
  EXPECT_THAT(open_error(path_), HasSubstr("MANIFEST"));
}

TEST_F(ForgedCheckpoint, a_sparse_manifest_of_many_gigabytes_is_refused) {
  fs::resize_file(path_ / kManifestName, std::uint64_t{1} << 40);
  EXPECT_THAT(open_error(path_), HasSubstr("1099511627776 bytes"));
}

}  // namespace
}  // namespace lockstep
