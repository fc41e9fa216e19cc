// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/idx.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

#include "dataloader/synthetic.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using namespace std::string_literals;

// 2 × 3 elements of type uint8.
const std::string kSmall = "\0\0\x08\x02\0\0\0\x02\0\0\0\x03"s + "abcdef";

class Idx : public testing::Test {
 protected:
  std::filesystem::path plain(std::string_view bytes) {
    write_text(folder_ / "file.idx", bytes);
    return folder_ / "file.idx";
  }

  std::filesystem::path compressed(std::string_view bytes) {
    const auto path = folder_ / "file.idx.gz";
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return path;
  }

  static auto fails_with(const std::string& part) {
    return ThrowsMessage<DataError>(AllOf(HasSubstr("file.idx"), HasSubstr(part), HasSubstr("Fix: ")));
  }

  TemporaryDirectory folder_;
};

template <typename T>
std::vector<T> values_of(const IdxFile& file) {
  std::vector<T> values(file.bytes.size() / sizeof(T));
  std::memcpy(values.data(), file.bytes.data(), file.bytes.size());
  return values;
}

TEST_F(Idx, reads_a_plain_file) {
  const auto file = read_idx(plain(kSmall));
  EXPECT_EQ(file.dtype, DType::uint8);
  EXPECT_THAT(file.shape, ElementsAre(2, 3));
  EXPECT_THAT(values_of<char>(file), ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
}

TEST_F(Idx, reads_a_compressed_file_alike) {
  const auto file = read_idx(compressed(kSmall));
  EXPECT_THAT(file.shape, ElementsAre(2, 3));
  EXPECT_THAT(values_of<char>(file), ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
}

TEST_F(Idx, turns_big_endian_elements_of_every_type) {
  const auto read = [this](char type, const std::string& payload) {
    return read_idx(plain("\0\0"s + type + "\x01\0\0\0\x02"s + payload));
  };
  EXPECT_THAT(values_of<std::int8_t>(read('\x09', "\x01\xFF"s)), ElementsAre(1, -1));
  EXPECT_THAT(values_of<std::int16_t>(read('\x0B', "\x01\x02\xFF\xFE"s)), ElementsAre(0x0102, -2));
  EXPECT_THAT(values_of<std::int32_t>(read('\x0C', "\x01\x02\x03\x04\xFF\xFF\xFF\xFE"s)), ElementsAre(0x01020304, -2));
  EXPECT_THAT(values_of<float>(read('\x0D', "\x3F\x80\0\0\xC0\x20\0\0"s)), ElementsAre(1.0F, -2.5F));
  EXPECT_THAT(values_of<double>(read('\x0E', "\x3F\xF0\0\0\0\0\0\0\xC0\x04\0\0\0\0\0\0"s)), ElementsAre(1.0, -2.5));
}

TEST_F(Idx, a_missing_file_is_named) {
  EXPECT_THAT([this] { (void)read_idx(folder_ / "no-file.idx"); }, fails_with("No such file"));
}

TEST_F(Idx, a_wrong_magic_number_is_shown) {
  EXPECT_THAT([this] { (void)read_idx(plain("\x89PNG\r\n")); }, fails_with("wrong magic number 89 50 4e 47"));
}

TEST_F(Idx, an_unknown_element_type_is_shown) {
  EXPECT_THAT([this] { (void)read_idx(plain("\0\0\x0A\x01\0\0\0\x01x"s)); }, fails_with("unknown element type 0x0a"));
}

TEST_F(Idx, a_file_that_ends_within_its_header_is_refused) {
  EXPECT_THAT([this] { (void)read_idx(plain("\0\0"s)); }, fails_with("shorter than an IDX header"));
  EXPECT_THAT([this] { (void)read_idx(plain(kSmall.substr(0, 9))); }, fails_with("ends within its header"));
}

TEST_F(Idx, a_short_file_shows_both_sizes) {
  EXPECT_THAT([this] { (void)read_idx(plain(kSmall.substr(0, kSmall.size() - 2))); },
              fails_with("too short: 4 bytes of data where its header [2, 3] × uint8 says 6"));
}

TEST_F(Idx, a_long_file_is_refused) {
  EXPECT_THAT([this] { (void)read_idx(plain(kSmall + "g")); }, fails_with("longer than its header"));
}

TEST_F(Idx, a_truncated_compressed_file_is_refused) {
  const auto path = compressed(kSmall);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);  // the 8 bytes of its trailer, and 1
  EXPECT_THAT([&] { (void)read_idx(path); }, fails_with("download it again"));
}

TEST_F(Idx, a_compressed_file_with_a_wrong_checksum_is_refused) {
  const auto path = compressed(kSmall);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-8, std::ios::end);  // CRC-32 of the content
  file.write("\x12\x34\x56\x78", 4);
  file.close();
  EXPECT_THAT([&] { (void)read_idx(path); }, fails_with("cannot be read or decompressed"));
}

TEST_F(Idx, a_header_whose_size_overflows_is_refused) {
  std::string header = "\0\0\x0E\x03"s;
  for (int i = 0; i < 3; ++i) {
    header += "\xFF\xFF\xFF\xFF";
  }
  EXPECT_THAT([&] { (void)read_idx(plain(header)); }, fails_with("dimensions are too large"));
}

TEST_F(Idx, a_header_that_lies_about_its_size_costs_no_memory) {
  // 2^50 bytes claimed, 3 delivered: allocating what the header says would end the process here.
  const auto claims_much = plain("\0\0\x08\x02\x02\0\0\0\x02\0\0\0abc"s);
  EXPECT_THAT([&] { (void)read_idx(claims_much); }, fails_with("too short: 3 bytes"));
}

}  // namespace
}  // namespace lockstep
