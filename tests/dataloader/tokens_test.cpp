// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "dataloader/open.hpp"
#include "dataloader/synthetic.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

template <typename T>
std::string ids(T first, std::size_t count) {
  std::vector<T> values(count);
  std::iota(values.begin(), values.end(), first);
  return text_of(bytes_of(values));
}

// As llm.c's write_datafile: 256 × int32.
std::string header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> words(256);
  words[0] = magic;
  words[1] = version;
  words[2] = count;
  return text_of(bytes_of(words));
}

class Tokens : public testing::Test {
 protected:
  std::unique_ptr<const RecordReader> open(std::int64_t tokens_per_sample, int token_bytes = 2) const {
    return open_folder(folder_.path(), {.tokens_per_sample = tokens_per_sample, .token_bytes = token_bytes});
  }
  template <typename T>
  static std::vector<T> read(const RecordReader& reader, std::int64_t sample) {
    return values_of<T>(read_record(reader, sample).fields[0]);
  }

  TemporaryDirectory folder_;
};

TEST_F(Tokens, a_sample_is_one_token_longer_than_the_stride) {
  write_text(folder_ / "train.bin", ids<std::uint16_t>(65530, 4) + ids<std::uint16_t>(7, 3));
  const auto reader = open(3);
  EXPECT_EQ(reader->samples(), 2);
  EXPECT_EQ(reader->fields()[0].name, "tokens");
  EXPECT_EQ(reader->fields()[0].encoding, "tokens16");
  EXPECT_THAT(read<std::uint16_t>(*reader, 0), ElementsAre(65530, 65531, 65532, 65533));
  EXPECT_THAT(read<std::uint16_t>(*reader, 1), ElementsAre(65533, 7, 8, 9));
}

TEST_F(Tokens, an_incomplete_last_sample_is_dropped_and_none_crosses_files) {
  write_text(folder_ / "a.bin", ids<std::uint16_t>(0, 6));
  write_text(folder_ / "b.bin", ids<std::uint16_t>(100, 3));
  write_text(folder_ / "c.bin", ids<std::uint16_t>(200, 2));
  write_text(folder_ / "d.bin", "");
  const auto reader = open(2);
  EXPECT_THAT(reader->shard_samples(), ElementsAre(2, 1, 0, 0));
  EXPECT_THAT(read<std::uint16_t>(*reader, 2), ElementsAre(100, 101, 102));
  EXPECT_EQ(reader->describe(2), "b.bin, sample 0");
}

TEST_F(Tokens, ids_of_32_bits) {
  write_text(folder_ / "train.bin", ids<std::uint32_t>(128000, 3));
  const auto reader = open(2, 4);
  EXPECT_EQ(reader->fields()[0].encoding, "tokens32");
  EXPECT_THAT(read<std::uint32_t>(*reader, 0), ElementsAre(128000, 128001, 128002));
}

TEST_F(Tokens, a_header_of_llm_c_is_recognised_and_tells_the_width) {
  write_text(folder_ / "gpt2.bin", header(20240520, 1, 5) + ids<std::uint16_t>(1, 5));
  EXPECT_THAT(read<std::uint16_t>(*open(4), 0), ElementsAre(1, 2, 3, 4, 5));
  std::filesystem::remove(folder_ / "gpt2.bin");
  write_text(folder_ / "llama.bin", header(20240801, 7, 3) + ids<std::uint32_t>(70000, 3));
  EXPECT_THAT(read<std::uint32_t>(*open(2, 2), 0), ElementsAre(70000, 70001, 70002));
}

TEST_F(Tokens, a_header_that_does_not_fit_its_file_is_refused) {
  write_text(folder_ / "a.bin", header(20240520, 1, 6) + ids<std::uint16_t>(1, 5));
  EXPECT_THAT([&] { open(2); }, ThrowsMessage<DataError>(AllOf(HasSubstr("a.bin"), HasSubstr("6 tokens"))));
  write_text(folder_ / "a.bin", header(20240520, 2, 5) + ids<std::uint16_t>(1, 5));
  EXPECT_THAT([&] { open(2); }, ThrowsMessage<DataError>(HasSubstr("version 2")));
}

TEST_F(Tokens, half_a_token_is_refused) {
  write_text(folder_ / "a.bin", "abc");
  EXPECT_THAT([&] { open(2); }, ThrowsMessage<DataError>(HasSubstr("whole tokens")));
}

TEST_F(Tokens, files_of_two_widths_are_refused) {
  write_text(folder_ / "a.bin", header(20240520, 1, 5) + ids<std::uint16_t>(1, 5));
  write_text(folder_ / "b.bin", header(20240801, 7, 3) + ids<std::uint32_t>(1, 3));
  EXPECT_THAT([&] { open(2); }, ThrowsMessage<DataError>(HasSubstr("two sources")));
}

TEST_F(Tokens, options_out_of_range_are_refused) {
  write_text(folder_ / "a.bin", "abcd");
  EXPECT_THAT([&] { open(0); }, ThrowsMessage<UsageError>(HasSubstr("tokens_per_sample 0")));
  EXPECT_THAT([&] { open(2, 3); }, ThrowsMessage<UsageError>(HasSubstr("token_bytes 3")));
}

TEST_F(Tokens, a_sample_that_is_not_there_is_refused) {
  write_text(folder_ / "a.bin", ids<std::uint16_t>(1, 5));
  const auto reader = open(2);
  for (const auto sample : {std::int64_t{-1}, std::int64_t{2}}) {
    EXPECT_THROW(read_record(*reader, sample), UsageError);
  }
}

TEST_F(Tokens, fingerprint_tells_files_and_stride) {
  write_text(folder_ / "a.bin", ids<std::uint16_t>(1, 9));
  const auto before = open(2)->fingerprint();
  EXPECT_NE(open(4)->fingerprint(), before);
  write_text(folder_ / "b.bin", ids<std::uint16_t>(1, 9));
  EXPECT_NE(open(2)->fingerprint(), before);
}

}  // namespace
}  // namespace lockstep
