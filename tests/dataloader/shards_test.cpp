// SPDX-License-Identifier: Apache-2.0
// The shard format from both sides: what write_shards writes, open_dataset reads or refuses by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <bit>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "dataloader/synthetic.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr const char* kFirstShard = "shard-00000-of-00003.h5";

// Each field of the samples at `indices`, one sample behind the other.
using Fields = std::vector<std::vector<std::byte>>;

Fields read(const Dataset& dataset, const std::vector<std::int64_t>& indices) {
  Fields fields(dataset.fields().size());
  for (const auto index : indices) {
    std::vector<std::span<std::byte>> places;
    for (std::size_t f = 0; f < fields.size(); ++f) {
      const std::size_t before = fields[f].size();
      fields[f].resize(before + dataset.fields()[f].row_bytes());
      places.push_back(std::span(fields[f]).subspan(before));
    }
    SampleSlot slot(std::move(places), std::vector<SampleSlot::Rows*>(fields.size(), nullptr));
    dataset.read({.sample = index}, slot);
  }
  return fields;
}

Fields read(const std::filesystem::path& folder, const std::vector<std::int64_t>& indices) {
  return read(*open_dataset(folder), indices);
}

template <typename T>
std::vector<T> values_of(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<float> pixels_of(const Fields& fields) { return values_of<float>(fields[0]); }
std::vector<std::int64_t> targets_of(const Fields& fields) { return values_of<std::int64_t>(fields[1]); }

void flip_byte(const std::filesystem::path& path, std::streamoff offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const int byte = file.get();
  file.seekp(offset);
  file.put(static_cast<char>(byte ^ 1));
}

// Rewrites index.json by `edit`; its fingerprint is left as it was.
template <typename Edit>
void edit_index(const std::filesystem::path& folder, const Edit& edit) {
  auto index = nlohmann::json::parse(read_file(folder / "index.json"));
  edit(index);
  write_text(folder / "index.json", index.dump());
}

// Ten numbered samples in three shards.
class Shards : public testing::Test {
 protected:
  Shards() { pack_numbered(folder_, 10, 3); }
  TemporaryDirectory temporary_;
  const std::filesystem::path folder_ = temporary_ / "train";
};

TEST_F(Shards, deliver_the_samples_asked_for_in_that_order) {
  const auto batch = read(folder_, {9, 0, 3, 3});
  EXPECT_THAT(targets_of(batch), ElementsAre(9, 0, 3, 3));
  EXPECT_EQ(open_dataset(folder_)->fields()[0],
            (FieldInfo{.name = "data", .dtype = DType::float32, .shape = {1, 2, 2}}));
  EXPECT_THAT(pixels_of(batch), ElementsAre(36, 37, 38, 39, 0, 1, 2, 3, 12, 13, 14, 15, 12, 13, 14, 15));
}

TEST_F(Shards, hold_nearly_equal_parts_and_nothing_else_is_in_the_folder) {
  const auto index = nlohmann::json::parse(read_file(folder_ / "index.json"));
  EXPECT_EQ(index.at("shards")[0].at("samples"), 3);
  EXPECT_EQ(index.at("shards")[1].at("samples"), 3);
  EXPECT_EQ(index.at("shards")[2].at("samples"), 4);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 4);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(temporary_.path()), {}), 1);
}

TEST_F(Shards, may_be_more_than_the_samples) {
  pack_numbered(temporary_ / "few", 2, 5);
  EXPECT_THAT(targets_of(read(temporary_ / "few", {1, 0})), ElementsAre(1, 0));
}

TEST_F(Shards, can_be_read_by_several_threads_at_once) {
  const auto dataset = open_dataset(folder_);
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        const std::vector<std::int64_t> indices{0, 4, 8};
        right += targets_of(read(*dataset, indices)) == indices ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(right, 4);
}

TEST_F(Shards, packed_again_have_the_same_fingerprint) {
  pack_numbered(temporary_ / "again", 10, 3);
  EXPECT_EQ(open_dataset(folder_)->fingerprint(), open_dataset(temporary_ / "again")->fingerprint());
}

TEST_F(Shards, of_other_content_have_another_fingerprint) {
  pack_numbered(temporary_ / "other", 11, 3);
  EXPECT_NE(open_dataset(folder_)->fingerprint(), open_dataset(temporary_ / "other")->fingerprint());
}

TEST_F(Shards, a_sample_past_the_end_is_the_callers_mistake) {
  EXPECT_THAT([this] { (void)read(folder_, {10}); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("sample 10"), HasSubstr("10 samples"))));
}

TEST_F(Shards, a_truncated_shard_names_file_sizes_and_fix_at_open) {
  const auto size = std::filesystem::file_size(folder_ / kFirstShard);
  std::filesystem::resize_file(folder_ / kFirstShard, size - 5);
  EXPECT_THAT([this] { (void)open_dataset(folder_); },
              ThrowsMessage<DataError>(AllOf(HasSubstr(kFirstShard), HasSubstr("truncated"),
                                             HasSubstr("expected " + std::to_string(size) + " bytes"),
                                             HasSubstr("found " + std::to_string(size - 5)), HasSubstr("pack it"))));
}

TEST_F(Shards, a_missing_shard_is_named_at_open) {
  std::filesystem::remove(folder_ / kFirstShard);
  EXPECT_THAT([this] { (void)open_dataset(folder_); },
              ThrowsMessage<DataError>(AllOf(HasSubstr(kFirstShard), HasSubstr("no such file"))));
}

TEST_F(Shards, a_flipped_byte_of_a_sample_or_its_checksum_is_found_before_it_is_delivered) {
  const auto index = nlohmann::json::parse(read_file(folder_ / "index.json"));
  const auto& offsets = index.at("shards")[0].at("offsets");
  for (const char* const part : {"data", "target", "crc32c"}) {
    flip_byte(folder_ / kFirstShard, offsets.at(part));  // of sample 0
    const auto dataset = open_dataset(folder_);
    for (int attempt = 0; attempt < 2; ++attempt) {
      EXPECT_THAT(
          [&] { (void)read(*dataset, {0}); },
          ThrowsMessage<DamagedSample>(AllOf(HasSubstr(kFirstShard), HasSubstr("CRC-32C"), HasSubstr("damaged"))))
          << part;
    }
    EXPECT_THAT(targets_of(read(*dataset, {1, 9})), ElementsAre(1, 9)) << "other samples still work";
    flip_byte(folder_ / kFirstShard, offsets.at(part));
  }
}

TEST_F(Shards, a_flipped_byte_anywhere_is_found_or_changes_no_sample) {
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(folder_ / kFirstShard));
  const Fields whole = read(folder_, {0, 1, 2});
  for (std::streamoff offset = 0; offset < size; offset += offset < 4096 ? 1 : 13) {
    flip_byte(folder_ / kFirstShard, offset);
    try {
      ASSERT_EQ(read(folder_, {0, 1, 2}), whole) << "offset " << offset;
    } catch (const DamagedSample&) {
    }
    flip_byte(folder_ / kFirstShard, offset);
  }
}

TEST_F(Shards, a_missing_folder_names_the_option_to_set) {
  EXPECT_THAT([this] { (void)open_dataset(temporary_ / "nowhere"); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("nowhere"), HasSubstr("no such folder"), HasSubstr("Fix: "),
                                             HasSubstr("data.path"))));
}

TEST_F(Shards, a_folder_without_index_is_no_data_set) {
  EXPECT_THAT([this] { (void)open_dataset(temporary_.path()); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("index.json"), HasSubstr("data.path"))));
}

TEST_F(Shards, an_index_that_is_not_json_is_refused) {
  write_text(folder_ / "index.json", "{\"schema_version\": 2, ");
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("index.json")));
}

TEST_F(Shards, an_index_of_a_later_version_is_refused) {
  edit_index(folder_, [](auto& index) { index["schema_version"] = 3; });
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("schema_version is 3")));
}

TEST_F(Shards, an_edited_index_is_refused) {
  edit_index(folder_, [](auto& index) { index["fields"][0]["scale"] = 2.0; });
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("fingerprint")));
}

TEST_F(Shards, an_index_cannot_point_outside_its_folder) {
  edit_index(folder_, [](auto& index) { index["shards"][0]["file"] = "../secret.h5"; });
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("not a plain file name")));
}

TEST_F(Shards, an_index_with_impossible_numbers_is_refused) {
  edit_index(folder_, [](auto& index) { index["shards"][0]["samples"] = -1; });
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("cannot hold -1 samples")));
  edit_index(folder_, [](auto& index) { index["fields"][0]["shape"] = {1LL << 40, 1LL << 40}; });
  EXPECT_THAT([this] { (void)open_dataset(folder_); }, ThrowsMessage<DataError>(HasSubstr("impossible shape")));
}

TEST_F(Shards, other_fields_than_data_and_target_are_refused) {
  const std::vector<std::uint8_t> bytes(4);
  const std::vector<FieldColumn> columns{{{.name = "image"}, bytes_of(bytes)}, {{.name = "target"}, bytes_of(bytes)}};
  write_shards(temporary_ / "images", 4, columns, 1);
  EXPECT_THAT([this] { (void)open_dataset(temporary_ / "images"); },
              ThrowsMessage<DataError>(HasSubstr("fields are [image, target], not [data, target]")));
}

// Stores one sample with `values` as its data and gives back what is delivered.
template <typename Stored>
Fields round_trip(const FieldSchema& schema, const std::vector<Stored>& values) {
  const TemporaryDirectory temporary;
  const std::vector<std::uint8_t> target{0};
  const std::vector<FieldColumn> columns{{schema, bytes_of(values)}, {{.name = "target"}, bytes_of(target)}};
  write_shards(temporary / "set", 1, columns, 1);
  return read(temporary / "set", {0});
}

FieldSchema data_schema(DType dtype, std::int64_t elements) {
  return {.name = "data", .dtype = dtype, .shape = {elements}};
}

TEST(Delivery, scales_in_float32_and_rounds_after_each_operation) {
  // The bits of every training run hang on this. For the first three of these values a fused multiply-add and float64
  // arithmetic give other bits.
  auto schema = data_schema(DType::uint8, 4);
  schema.scale = 1.0 / 255.0 / 0.353;
  schema.offset = -0.2860 / 0.353;
  std::vector<std::uint32_t> bits;
  for (const float pixel : pixels_of(round_trip(schema, std::vector<std::uint8_t>{10, 12, 52, 255}))) {
    bits.push_back(std::bit_cast<std::uint32_t>(pixel));
  }
  EXPECT_THAT(bits, ElementsAre(0xBF32F898U, 0xBF2D487AU, 0xBE6E18E0U, 0x4001734FU));
}

TEST(Delivery, reaches_float32_from_every_stored_number) {
  const auto check = [](auto example, DType dtype) {
    using Stored = decltype(example);
    auto schema = data_schema(dtype, 2);
    schema.scale = dtype == DType::float32 ? 1.0 : 2.0;
    const auto factor = static_cast<float>(schema.scale);
    EXPECT_THAT(pixels_of(round_trip(schema, std::vector<Stored>{3, 100})), ElementsAre(3 * factor, 100 * factor))
        << name_of(dtype);
  };
  check(std::uint8_t{}, DType::uint8);
  check(std::int8_t{}, DType::int8);
  check(std::int16_t{}, DType::int16);
  check(std::int32_t{}, DType::int32);
  check(std::int64_t{}, DType::int64);
  check(float{}, DType::float32);
  check(double{}, DType::float64);
}

TEST(Delivery, reaches_int64_from_every_stored_integer) {
  const auto check = [](auto low, DType dtype) {
    auto schema = data_schema(dtype, 2);
    schema.delivered = DType::int64;
    const auto delivered = values_of<std::int64_t>(round_trip(schema, std::vector{low, decltype(low){100}})[0]);
    EXPECT_THAT(delivered, ElementsAre(low, 100)) << name_of(dtype);
  };
  check(std::uint8_t{255}, DType::uint8);
  check(std::int8_t{-128}, DType::int8);
  check(std::int16_t{-300}, DType::int16);
  check(std::int32_t{-70000}, DType::int32);
  check(std::int64_t{-5'000'000'000}, DType::int64);
}

class WriteShards : public testing::Test {
 protected:
  std::vector<FieldColumn> columns() const { return {{{.name = "data"}, bytes_of(bytes_)}}; }
  void fails_with(const std::vector<FieldColumn>& columns, std::int64_t samples, int shards, const std::string& part) {
    EXPECT_THAT([&] { write_shards(temporary_ / "set", samples, columns, shards); },
                ThrowsMessage<UsageError>(HasSubstr(part)));
    EXPECT_TRUE(std::filesystem::is_empty(temporary_.path())) << "something was left behind";
  }
  const std::vector<std::uint8_t> bytes_ = std::vector<std::uint8_t>(8);
  TemporaryDirectory temporary_;
};

TEST_F(WriteShards, refuses_a_folder_that_exists) {
  write_text(temporary_ / "set", "mine");
  EXPECT_THAT([&] { write_shards(temporary_ / "set/", 8, columns(), 1); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("set"), HasSubstr("it exists"), HasSubstr("Fix: "))));
  EXPECT_EQ(read_file(temporary_ / "set"), "mine");
}

TEST_F(WriteShards, refuses_columns_that_do_not_fit) {
  fails_with(columns(), 7, 1, "field \"data\" has 8 bytes, not 7 samples × 1 bytes");
  fails_with({{{.name = "data", .shape = {3}}, bytes_of(bytes_)}}, 2, 1, "not 2 samples × 3 bytes");
}

TEST_F(WriteShards, refuses_less_than_one_shard) { fails_with(columns(), 8, 0, "0 shards"); }

TEST_F(WriteShards, refuses_names_that_are_paths) {
  fails_with({{{.name = "a/b"}, bytes_of(bytes_)}}, 8, 1, "letters a to z");
}

TEST_F(WriteShards, refuses_what_could_not_be_delivered) {
  fails_with({{{.name = "data", .dtype = DType::float16}, bytes_of(bytes_)}}, 4, 1, "cannot be delivered as float32");
  fails_with({{{.name = "data", .delivered = DType::int64, .scale = 2.0}, bytes_of(bytes_)}}, 8, 1, "scale 2");
}

TEST_F(WriteShards, leaves_nothing_behind_when_the_disk_is_full) {
  // A limit on the size of files stands for the full disk.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 8192, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const std::vector<std::uint8_t> much(100'000);
  const std::vector<FieldColumn> large{{{.name = "data"}, bytes_of(much)}};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(write_shards(temporary_ / "set", 100'000, large, 2), IoError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
}

}  // namespace
}  // namespace lockstep
