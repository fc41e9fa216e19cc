// SPDX-License-Identifier: Apache-2.0
// Reads what MosaicML's own MDSWriter wrote (golden/make_golden.py), and damaged copies of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "dataloader/open.hpp"
#include "dataloader/synthetic.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::ThrowsMessage;

const std::filesystem::path kGolden = LOCKSTEP_GOLDEN;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<std::size_t>(byte >> 4U)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

// How the shape stands in a npy header.
std::string npy_shape(const json& shape) {
  std::string text = "'shape': (";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + shape[i].dump();
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

void expect_value(const StoredField& field, std::span<const std::byte> found, const json& expected) {
  if (field.encoding != "npy") {
    EXPECT_EQ(hex(found), expected.at("hex"));
    return;
  }
  const auto text = text_of(found);
  const auto header = text.substr(0, text.find('\n') + 1);
  EXPECT_EQ(header.size() % 64, 0U);
  EXPECT_EQ(header.size(), 10U + static_cast<unsigned char>(header[8]) + 256U * static_cast<unsigned char>(header[9]));
  EXPECT_THAT(header, AllOf(HasSubstr("'descr': '" + expected.at("descr").get<std::string>()),
                            HasSubstr(npy_shape(expected.at("shape")))));
  EXPECT_EQ(hex(found.subspan(header.size())), expected.at("hex"));
}

class MdsGolden : public testing::TestWithParam<const char*> {};

TEST_P(MdsGolden, every_sample_is_what_was_written) {
  const auto expected = json::parse(read_file(kGolden / "mds.json"));
  const auto reader = open_folder(kGolden / GetParam());
  ASSERT_EQ(reader->samples(), std::ssize(expected));
  ASSERT_THAT(reader->fields(), SizeIs(expected[0].size()));
  for (std::int64_t i = 0; i < reader->samples(); ++i) {
    const auto record = read_record(*reader, i);
    for (std::size_t f = 0; f < record.fields.size(); ++f) {
      SCOPED_TRACE(reader->describe(i) + ", " + reader->fields()[f].name);
      expect_value(reader->fields()[f], record.fields[f],
                   expected[static_cast<std::size_t>(i)].at(reader->fields()[f].name));
    }
  }
}

TEST_P(MdsGolden, fields_are_told_by_what_decodes_them) {
  const auto reader =
      open_folder(kGolden / GetParam(), {.fields = {"image", "pose", "label", "token", "meta", "text"}});
  std::vector<std::string> encodings;
  std::ranges::transform(reader->fields(), std::back_inserter(encodings), &StoredField::encoding);
  EXPECT_THAT(encodings, testing::ElementsAre("jpg", "raw", "raw", "npy", "json", "bytes"));
  EXPECT_EQ(reader->fields()[1].dtype, DType::float32);
  EXPECT_THAT(reader->fields()[1].shape, testing::ElementsAre(2, 3));
  EXPECT_EQ(reader->fields()[2].dtype, DType::int32);
  EXPECT_THAT(reader->fields()[2].shape, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Folders, MdsGolden, testing::Values("mds", "mds_zstd"),
                         [](const auto& tested) { return std::string(tested.param); });

class Mds : public testing::Test {
 protected:
  void SetUp() override { copy("mds"); }

  void copy(const char* name) {
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(kGolden / name, folder_);
  }
  void edit_index(const std::function<void(json&)>& edit) {
    auto index = json::parse(read_file(folder_ / "index.json"));
    edit(index);
    write_text(folder_ / "index.json", index.dump());
  }
  void without_hashes() {
    edit_index([](json& index) {
      for (auto& shard : index["shards"]) shard["raw_data"]["hashes"] = json::object();
    });
  }
  void damage(const char* name, std::size_t byte) {
    auto bytes = read_file(folder_ / name);
    flip_bit(bytes, byte * 8);
    write_text(folder_ / name, bytes);
  }
  // The first shard's samples fail as damaged for `why`, those of the second are well.
  void expect_damaged(const char* why) {
    const auto reader = open_folder(folder_);
    EXPECT_THAT([&] { read_record(*reader, 0); },
                ThrowsMessage<DamagedSample>(AllOf(HasSubstr("shard.00000"), HasSubstr(why))));
    EXPECT_THAT([&] { read_record(*reader, 0); }, ThrowsMessage<DamagedSample>(HasSubstr(why)));  // and again
    EXPECT_THAT(read_record(*reader, reader->samples() - 1).fields, Each(Not(IsEmpty())));
  }
  template <typename Matcher>
  void expect_refused(const Matcher& matcher) {
    EXPECT_THAT([&] { open_folder(folder_); }, ThrowsMessage<DataError>(matcher));
  }

  TemporaryDirectory temporary_;
  const std::filesystem::path folder_ = temporary_ / "set";
};

TEST_F(Mds, a_shard_that_fails_its_hash_is_damaged) {
  damage("shard.00000.mds", 3000);
  expect_damaged("sha1");
}

TEST_F(Mds, a_compressed_shard_that_fails_its_hash_is_damaged) {
  copy("mds_zstd");
  damage("shard.00000.mds.zstd", 700);
  expect_damaged("sha256");
}

TEST_F(Mds, a_compressed_shard_without_hashes_that_zstd_refuses_is_damaged) {
  copy("mds_zstd");
  edit_index([](json& index) { index["shards"][0]["zip_data"]["hashes"] = json::object(); });
  auto bytes = read_file(folder_ / "shard.00000.mds.zstd");
  std::fill(bytes.begin() + std::ssize(bytes) / 2, bytes.end(), '\xff');
  write_text(folder_ / "shard.00000.mds.zstd", bytes);
  expect_damaged("shard.00000.mds.zstd");
}

TEST_F(Mds, a_compressed_shard_is_checked_by_the_raw_hash_if_there_is_no_other) {
  copy("mds_zstd");
  edit_index([](json& index) {
    index["shards"][0]["zip_data"]["hashes"] = json::object();
    index["shards"][0]["raw_data"]["hashes"]["sha256"] = "00";
  });
  expect_damaged("sha256");
}

TEST_F(Mds, hashes_of_an_unknown_kind_are_told_and_not_checked) {
  edit_index([](json& index) {
    for (auto& shard : index["shards"]) {
      shard["hashes"] = {"xxh64"};
      shard["raw_data"]["hashes"].erase("sha1");
    }
  });
  testing::internal::CaptureStderr();
  const auto reader = open_folder(folder_);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("xxh64"));
  EXPECT_THAT(read_record(*reader, 0).fields, SizeIs(13));
}

TEST_F(Mds, offsets_out_of_order_are_damage) {
  without_hashes();
  damage("shard.00000.mds", 11);  // the high byte of the offset of sample 1
  expect_damaged("begins before");
}

TEST_F(Mds, columns_unlike_the_index_are_damage) {
  without_hashes();
  auto bytes = read_file(folder_ / "shard.00000.mds");
  bytes[bytes.find("float16")] = 'g';
  write_text(folder_ / "shard.00000.mds", bytes);
  expect_damaged("columns are not those of the index");
}

TEST_F(Mds, a_size_within_a_sample_that_leads_out_of_it_is_damage) {
  without_hashes();
  const auto bytes = read_file(folder_ / "shard.00000.mds");
  std::uint32_t first = 0;
  std::memcpy(&first, bytes.data() + 4, sizeof first);
  damage("shard.00000.mds", first + 3);  // the high byte of the size of the first value
  const auto reader = open_folder(folder_);
  EXPECT_THAT([&] { read_record(*reader, 0); }, ThrowsMessage<DamagedSample>(HasSubstr("sample 0")));
  EXPECT_NO_THROW(read_record(*reader, 1));  // it costs this sample only
}

TEST_F(Mds, a_wrong_number_of_samples_is_found_at_open) {
  edit_index([](json& index) { index["shards"][0]["samples"] = 2; });
  expect_refused(AllOf(HasSubstr("shard.00000.mds"), HasSubstr("the index says 2")));
}

TEST_F(Mds, a_truncated_shard_is_found_at_open) {
  std::filesystem::resize_file(folder_ / "shard.00001.mds", 100);
  expect_refused(AllOf(HasSubstr("shard.00001.mds"), HasSubstr("found 100")));
}

TEST_F(Mds, an_impossible_number_of_samples_is_refused) {
  edit_index([](json& index) { index["shards"][0]["samples"] = std::int64_t{1} << 62; });
  expect_refused(HasSubstr("cannot hold"));
}

TEST_F(Mds, a_name_that_leads_out_of_the_folder_is_refused) {
  edit_index([](json& index) { index["shards"][0]["raw_data"]["basename"] = "../mds/shard.00000.mds"; });
  expect_refused(HasSubstr("leads out"));
}

TEST_F(Mds, another_compression_is_refused_by_name) {
  edit_index([](json& index) { index["shards"][0]["compression"] = "snappy"; });
  expect_refused(HasSubstr("snappy"));
}

TEST_F(Mds, an_encoding_that_cannot_be_read_is_refused_by_name) {
  edit_index([](json& index) {
    for (auto& shard : index["shards"]) shard["column_encodings"][1] = "pkl";
  });
  expect_refused(AllOf(HasSubstr("blob"), HasSubstr("\"pkl\""), HasSubstr("leave it out")));
}

TEST_F(Mds, a_size_that_the_encoding_cannot_have_is_refused) {
  edit_index([](json& index) {
    for (auto& shard : index["shards"]) shard["column_sizes"][6] = 5;
  });
  expect_refused(AllOf(HasSubstr("label"), HasSubstr("5 bytes")));
}

TEST_F(Mds, an_index_cut_anywhere_is_refused) {
  const auto whole = read_file(folder_ / "index.json");
  for (std::size_t bytes = 0; bytes < whole.size(); bytes += 97) {
    write_text(folder_ / "index.json", whole.substr(0, bytes));
    EXPECT_THROW(open_folder(folder_, {.format = "mds"}), DataError) << bytes;
  }
}

TEST_F(Mds, an_index_nested_without_end_is_refused) {
  const std::string deep(1'000'000, '[');
  write_text(folder_ / "index.json", R"({"version": 2, "shards": )" + deep + std::string(deep.size(), ']') + "}");
  expect_refused(HasSubstr("nested too deeply"));
}

TEST_F(Mds, a_field_that_is_not_there_is_named) {
  EXPECT_THAT([&] { open_folder(folder_, {.fields = {"lidar"}}); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("lidar"), HasSubstr("image"))));
}

TEST_F(Mds, fingerprint_changes_with_a_hash) {
  const auto before = open_folder(folder_)->fingerprint();
  EXPECT_EQ(open_folder(folder_)->fingerprint(), before);
  edit_index([](json& index) { index["shards"][1]["raw_data"]["hashes"]["sha1"] = "00"; });
  EXPECT_NE(open_folder(folder_)->fingerprint(), before);
}

}  // namespace
}  // namespace lockstep
