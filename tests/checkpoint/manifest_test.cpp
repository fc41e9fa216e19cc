// SPDX-License-Identifier: Apache-2.0
#include "format/manifest.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::HasSubstr;

Manifest sample() {
  return {.lockstep = "0.1.0",
          .step = 12,
          .world_size = 2,
          .seed = 18'000'000'000'000'000'000U,
          .determinism = {4, 1, "2.11.0", "AVX512"},
          .tensors = {{"/model/a", DType::float32, {2, 3}, 4096, 24, 0xa0b1c2d3U},
                      {"/model/b", DType::int64, {}, 5000, 8, 7}},
          .blobs = {{"/blobs/loader", DType::uint8, {5}, 6000, 5, 0xffffffffU}},
          .payload = {.bytes = 5'000'000, .block_bytes = 4'194'304, .block_crcs = {1, 0xdeadbeefU}}};
}

// Gives a manifest with this JSON the CRC that belongs to it, as whoever forges one would.
std::string sign(const std::string& body) {
  return fmt::format("{}crc32c {:08x}\n", body, crc32c(std::as_bytes(std::span(body))));
}

// The sample's text with `from` replaced by `to`, signed anew.
std::string forge(const std::string& from, const std::string& to) {
  std::string body = print_manifest(sample());
  body.resize(body.find('\n') + 1);
  const auto position = body.find(from);
  EXPECT_NE(position, std::string::npos) << from;
  return sign(body.replace(position, from.size(), to));
}

std::string refusal(const std::string& text) {
  try {
    static_cast<void>(parse_manifest(text, "run/MANIFEST"));
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Manifest, parses_what_it_prints) { EXPECT_EQ(parse_manifest(print_manifest(sample()), "MANIFEST"), sample()); }

TEST(Manifest, text_is_one_line_of_json_and_one_of_crc) {
  // Others read the format: docs/checkpoint_format.md shows this text.
  EXPECT_EQ(
      print_manifest(sample()),
      sign(
          R"({"schema_version":1,"lockstep":"0.1.0","step":12,"world_size":2,"seed":18000000000000000000,)"
          R"("determinism":{"micro_batches":4,"intra_op_threads":1,"libtorch":"2.11.0","cpu_capability":"AVX512"},)"
          R"("tensors":[{"name":"/model/a","dtype":"float32","shape":[2,3],"offset":4096,"bytes":24,"crc32c":"a0b1c2d3"},)"
          R"({"name":"/model/b","dtype":"int64","shape":[],"offset":5000,"bytes":8,"crc32c":"00000007"}],)"
          R"("blobs":[{"name":"/blobs/loader","dtype":"uint8","shape":[5],"offset":6000,"bytes":5,"crc32c":"ffffffff"}],)"
          R"("files":[{"file":"state.h5","bytes":5000000,"block_bytes":4194304,"crc32c":["00000001","deadbeef"]}]})"
          "\n"));
}

TEST(Manifest, every_single_changed_bit_is_seen) {
  const std::string good = print_manifest(sample());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string text = good;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_THAT(refusal(text), HasSubstr("damaged")) << "bit " << bit;
  }
}

TEST(Manifest, every_truncation_is_seen) {
  const std::string good = print_manifest(sample());
  for (std::size_t size = 0; size < good.size(); ++size) ASSERT_NE(refusal(good.substr(0, size)), "accepted") << size;
}

TEST(Manifest, a_newer_schema_is_refused_with_both_versions) {
  const std::string text = forge(R"("schema_version":1)", R"("schema_version":2)");
  EXPECT_THAT(refusal(text),
              testing::AllOf(HasSubstr("run/MANIFEST"), HasSubstr("schema_version 2"), HasSubstr("reads up to 1"),
                             HasSubstr("Fix: use the lockstep that wrote it")));
}

TEST(Manifest, a_newer_schema_is_refused_before_its_other_fields_are_looked_at) {
  EXPECT_THAT(refusal(sign("{\"schema_version\":7}\n")), HasSubstr("schema_version 7"));
}

TEST(Manifest, names_that_are_not_utf8_are_the_callers_mistake) {
  Manifest manifest = sample();
  manifest.tensors[0].name = "/model/\xff";
  EXPECT_THROW(static_cast<void>(print_manifest(manifest)), UsageError);
}

TEST(Manifest, deep_nesting_is_refused) {
  // A recursive parser would run out of stack.
  EXPECT_NE(refusal(sign(std::string(1'000'000, '[') + "\n")), "accepted");
}

struct Forgery {
  const char* from;
  const char* to;
  const char* why;
};

class ForgedManifest : public testing::TestWithParam<Forgery> {};

TEST_P(ForgedManifest, is_refused) {
  const auto& [from, to, why] = GetParam();
  EXPECT_THAT(refusal(forge(from, to)), HasSubstr(why));
}

INSTANTIATE_TEST_SUITE_P(
    All, ForgedManifest,
    testing::Values(
        Forgery{"state.h5", "../state.h5", "not a plain file name"}, Forgery{"state.h5", "..", "not a plain file name"},
        Forgery{"state.h5", "/etc/passwd", "not a plain file name"},
        Forgery{"state.h5", "state\\u0000.h5", "not a plain file name"},
        Forgery{"state.h5", "", "not a plain file name"}, Forgery{R"({"file")", R"({},{"file")", "exactly one entry"},
        Forgery{"\"bytes\":5000000", "\"bytes\":9000000000000000000", "do not cover"},
        Forgery{"\"bytes\":5000000", "\"bytes\":-1", "not a number from 0"},
        Forgery{"\"bytes\":5000000", "\"bytes\":5e6", "not a number from 0"},
        Forgery{"\"bytes\":5000000", "\"bytes\":99999999999999999999", "not a number from 0"},
        Forgery{"\"block_bytes\":4194304", "\"block_bytes\":0", "do not cover"},
        Forgery{"\"block_bytes\":4194304", "\"block_bytes\":4194304000", "not a number from 0"},
        Forgery{"\"00000001\",", "", "do not cover"}, Forgery{"\"00000001\"", "1", "type must be string"},
        Forgery{"\"00000001\"", "\"0000000g\"", "not a CRC-32C"},
        Forgery{"\"offset\":4096", "\"offset\":4999977", "ends at byte 5000001 of a file of 5000000"},
        Forgery{"\"offset\":4096", "\"offset\":9223372036854775807", "ends at byte"},
        Forgery{"[2,3]", "[2,4]", "cannot have 24 bytes"}, Forgery{"[2,3]", "[-2,-3]", "not a number from 0"},
        Forgery{"[2,3]", "[4294967296,4294967296,4]", "cannot have 24 bytes"},
        Forgery{"float32", "float99", "not a dtype"}, Forgery{"/model/a", "/model/../a", "not a dataset's path"},
        Forgery{"/model/a", "model", "not a dataset's path"}, Forgery{"/model/a", "/model/b", "twice"},
        Forgery{"/model/a", "/model/c", "out of order"}, Forgery{"/model/a", "/blobs/a", "a blob's name"},
        Forgery{"/blobs/loader", "/model/loader", "not a blob"},
        Forgery{"\"shape\":[5]", "\"shape\":[5,1]", "not a blob"},
        Forgery{"\"step\":12", "\"step\":9223372036854775808", "not a number from 0"},
        Forgery{"\"world_size\":2", "\"world_size\":4294967296", "not a number from 0"},
        Forgery{"\"seed\":18000000000000000000", "\"seed\":\"a\"", "not a number from 0"},
        Forgery{"\"step\":12,", "", "key 'step' not found"}, Forgery{"{", "[", "parse error"}));

}  // namespace
}  // namespace lockstep
