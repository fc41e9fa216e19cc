// SPDX-License-Identifier: Apache-2.0
// Our shards through RecordReader, and what h5py wrote (golden/make_golden.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "dataloader/open.hpp"
#include "dataloader/synthetic.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kGolden = std::filesystem::path(LOCKSTEP_GOLDEN) / "hdf5";

std::unique_ptr<const RecordReader> open_golden(const char* file, std::vector<std::string> fields = {}) {
  return open_folder(kGolden, {.format = "hdf5", .files = {file}, .fields = std::move(fields)});
}

template <typename T>
std::vector<T> read(const RecordReader& reader, std::int64_t sample, std::size_t field) {
  return values_of<T>(read_record(reader, sample).fields[field]);
}

// A local folder that is told to be a remote one.
class FarStore final : public BlobStore {
 public:
  explicit FarStore(std::filesystem::path folder) : near_(open_store(folder.string())) {}
  [[nodiscard]] const std::string& location() const noexcept override { return location_; }
  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override { return near_->open(name); }
  [[nodiscard]] bool contains(std::string_view name) const override { return near_->contains(name); }
  [[nodiscard]] std::vector<std::string> list() const override { return near_->list(); }

 private:
  const std::string location_ = "http://far/set";
  const std::shared_ptr<const BlobStore> near_;
};

TEST(Hdf5Records, contiguous_datasets_of_h5py) {
  const auto reader = open_golden("contiguous.h5");
  ASSERT_EQ(reader->samples(), 10);
  EXPECT_EQ(reader->fields()[0].name, "x");
  EXPECT_THAT(reader->fields()[0].shape, ElementsAre(3));
  const auto record = read_record(*reader, 9);
  EXPECT_THAT(values_of<float>(record.fields[0]), ElementsAre(27, 28, 29));
  EXPECT_THAT(values_of<std::int64_t>(record.fields[1]), ElementsAre(9));
  EXPECT_TRUE(record.buffer.empty()) << "it is mapped";
}

TEST(Hdf5Records, chunked_compressed_and_converted_datasets_of_h5py) {
  const auto reader = open_golden("chunked.h5", {"token", "x", "big_endian", "y", "group/nested"});
  EXPECT_EQ(reader->fields()[0].dtype, DType::int32);
  for (std::int64_t i = 9; i >= 0; --i) {
    const auto first = 3.0F * static_cast<float>(i);
    const auto record = read_record(*reader, i);
    EXPECT_THAT(values_of<std::int32_t>(record.fields[0]), ElementsAre(65535 - i));
    EXPECT_THAT(values_of<float>(record.fields[1]), ElementsAre(first, first + 1, first + 2));
    EXPECT_THAT(values_of<float>(record.fields[2]), ElementsAre(first, first + 1, first + 2));
    EXPECT_THAT(values_of<std::int64_t>(record.fields[3]), ElementsAre(i));
    EXPECT_THAT(values_of<std::int64_t>(record.fields[4]), ElementsAre(i));
  }
}

TEST(Hdf5Records, several_files_are_shards) {
  const auto reader = open_folder(kGolden, {.files = {"contiguous.h5", "chunked.h5"}, .fields = {"y", "x"}});
  EXPECT_THAT(reader->shard_samples(), ElementsAre(10, 10));
  EXPECT_THAT(read<std::int64_t>(*reader, 13, 0), ElementsAre(3));
  EXPECT_EQ(reader->describe(13), "chunked.h5, sample 3");
}

TEST(Hdf5Records, what_cannot_be_a_field_is_refused_by_name) {
  const std::vector<std::pair<const char*, const char*>> cases{{"name", "neither integers"},
                                                               {"one", "single value"},
                                                               {"linked", "soft or external link"},
                                                               {"nothing", "not in the file"}};
  for (const auto& [field, why] : cases) {
    const std::vector<std::string> fields{field};
    EXPECT_THAT([&] { open_golden("odd.h5", fields); },
                ThrowsMessage<DataError>(AllOf(HasSubstr(fields[0]), HasSubstr(why))));
  }
  const std::vector<std::string> unequal{"x", "short"};
  EXPECT_THAT([&] { open_golden("odd.h5", unequal); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("short"), HasSubstr("first dimension is 4"))));
}

TEST(Hdf5Records, a_damaged_chunk_costs_its_samples) {
  const TemporaryDirectory folder;
  auto bytes = read_file(kGolden / "chunked.h5");
  const auto reader = open_golden("chunked.h5", {"x"});
  const auto deflated = bytes.find("\x78\x5e");  // of zlib at level 4
  ASSERT_NE(deflated, std::string::npos);
  flip_bit(bytes, (deflated + 6) * 8);
  write_text(folder / "chunked.h5", bytes);
  const auto damaged = open_folder(folder.path(), {.fields = {"x"}});
  int found = 0;
  for (std::int64_t i = 0; i < 10; ++i) {
    try {
      EXPECT_EQ(read<float>(*damaged, i, 0), read<float>(*reader, i, 0));
    } catch (const DamagedSample&) {
      ++found;
    }
  }
  EXPECT_THAT(found, testing::AnyOf(2, 4));  // of chunks of 4, the last one half full
}

TEST(Hdf5Records, a_remote_file_is_read_where_it_is_contiguous_and_refused_where_not) {
  const auto far = std::make_shared<FarStore>(kGolden);
  const auto reader = open_records(far, {.format = "hdf5", .files = {"contiguous.h5"}});
  EXPECT_THAT(read<std::int64_t>(*reader, 4, 1), ElementsAre(4));
  const RecordOptions chunked{.format = "hdf5", .files = {"chunked.h5"}, .fields = {"x"}};
  EXPECT_THAT([&] { (void)open_records(far, chunked); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("local files only"), HasSubstr("download"))));
}

class LockstepRecords : public testing::Test {
 protected:
  void SetUp() override { pack_numbered(folder_, 10, 3); }
  TemporaryDirectory temporary_;
  const std::filesystem::path folder_ = temporary_ / "set";
};

TEST_F(LockstepRecords, samples_are_the_stored_bytes) {
  const auto reader = open_folder(folder_);
  EXPECT_THAT(reader->shard_samples(), ElementsAre(3, 3, 4));
  EXPECT_THAT(reader->fields()[0].shape, ElementsAre(1, 2, 2));
  const auto record = read_record(*reader, 7);
  EXPECT_THAT(values_of<std::uint8_t>(record.fields[0]), ElementsAre(28, 29, 30, 31));
  EXPECT_THAT(values_of<std::int32_t>(record.fields[1]), ElementsAre(7));
}

TEST_F(LockstepRecords, fingerprint_is_the_index_s_whatever_fields_are_read) {
  const auto reader = open_folder(folder_, {.fields = {"target"}});
  EXPECT_THAT(read_file(folder_ / "index.json"), HasSubstr("\"fingerprint\": \"" + reader->fingerprint() + '"'));
  EXPECT_THAT(read<std::int32_t>(*reader, 9, 0), ElementsAre(9));
}

TEST_F(LockstepRecords, a_flipped_bit_costs_its_sample_alone) {
  auto bytes = read_file(folder_ / "shard-00001-of-00003.h5");
  const std::string stored = "\x10\x11\x12\x13";  // the pixels of sample 4, the second of the shard
  flip_bit(bytes, bytes.find(stored) * 8);
  write_text(folder_ / "shard-00001-of-00003.h5", bytes);
  const auto reader = open_folder(folder_);
  for (const std::int64_t whole : {2, 3, 5, 6}) EXPECT_NO_THROW(read_record(*reader, whole));
  EXPECT_THAT([&] { read_record(*reader, 4); }, ThrowsMessage<DamagedSample>(HasSubstr("CRC-32C")));
}

// Without its index the folder would be read as any HDF5 files are: unchecked.
TEST_F(LockstepRecords, a_damaged_index_is_not_taken_for_none) {
  auto index = read_file(folder_ / "index.json");
  write_text(folder_ / "index.json", index.substr(0, index.size() / 2));
  EXPECT_THAT([&] { open_folder(folder_); }, ThrowsMessage<DataError>(HasSubstr("it is not JSON")));
  index[index.find("schema_version")] = 'S';
  write_text(folder_ / "index.json", index);
  EXPECT_THAT([&] { open_folder(folder_); }, ThrowsMessage<DataError>(HasSubstr("nothing in it tells its format")));
}

TEST_F(LockstepRecords, a_remote_folder_is_read_from_an_image) {
  const auto reader = open_records(std::make_shared<FarStore>(folder_));
  EXPECT_THAT(read<std::int32_t>(*reader, 8, 1), ElementsAre(8));
}

TEST_F(LockstepRecords, threads_may_meet_at_the_first_use_of_a_shard) {
  const auto reader = open_folder(folder_);
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::int64_t i = 0; i < 10; ++i) {
        EXPECT_THAT(read<std::int32_t>(*reader, i, 1), ElementsAre(i));
      }
    });
  }
}

}  // namespace
}  // namespace lockstep
