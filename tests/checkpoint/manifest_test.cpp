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
          .metrics = {{"eval.accuracy", 0.875}, {"loss", 1e-300}},
          .tensors = {{"/model/a", DType::float32, {2, 3}, {{0, 4096, 0, 4, 0xa0b1c2d3U}, {1, 64, 4, 2, 1}}},
                      {"/model/b", DType::int64, {}, {{1, 72, 0, 1, 7}}},
                      {"/model/c", DType::float32, {0, 3}, {}}},
          .blobs = {{"config", ""}, {"loader", "{\"position\":5}\n\u00e4"}},
          .files = {{"rank-00000.h5", 70'000, {1, 0xdeadbeefU}}, {"rank-00001.h5", 80, {2}}, {"index.h5", 0, {}}}};
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
      sign(R"({"schema_version":2,"lockstep":"0.1.0","step":12,"world_size":2,"seed":18000000000000000000,)"
           R"("determinism":{"micro_batches":4,"intra_op_threads":1,"libtorch":"2.11.0","cpu_capability":"AVX512"},)"
           R"("metrics":{"eval.accuracy":0.875,"loss":1e-300},"block_bytes":65536,)"
           R"("files":[{"name":"rank-00000.h5","bytes":70000,"crc32c":"00000001deadbeef"},)"
           R"({"name":"rank-00001.h5","bytes":80,"crc32c":"00000002"},{"name":"index.h5","bytes":0,"crc32c":""}],)"
           R"("tensors":[{"name":"/model/a","dtype":"float32","shape":[2,3],)"
           R"("pieces":[[0,4096,0,4,"a0b1c2d3"],[1,64,4,2,"00000001"]]},)"
           R"({"name":"/model/b","dtype":"int64","shape":[],"pieces":[[1,72,0,1,"00000007"]]},)"
           R"({"name":"/model/c","dtype":"float32","shape":[0,3],"pieces":[]}],)"
           R"("blobs":{"config":"","loader":"{\"position\":5}\nä"}})"
           "\n"));
}

TEST(Manifest, names_the_device_where_that_was_a_gpu) {
  Manifest manifest = sample();
  manifest.determinism.device = "NVIDIA H100 80GB HBM3";
  const std::string text = print_manifest(manifest);
  EXPECT_THAT(text, HasSubstr(R"("cpu_capability":"AVX512","device":"NVIDIA H100 80GB HBM3"},)"));
  EXPECT_EQ(parse_manifest(text, "MANIFEST"), manifest);
}

// What version 1 wrote.
std::string version_1(const std::string& from = "", const std::string& to = "") {
  std::string body =
      R"({"schema_version":1,"lockstep":"0.1.0","step":12,"world_size":2,"seed":18000000000000000000,)"
      R"("determinism":{"micro_batches":4,"intra_op_threads":1,"libtorch":"2.11.0","cpu_capability":"AVX512"},)"
      R"("tensors":[{"name":"/model/a","dtype":"float32","shape":[2,3],"offset":4096,"bytes":24,"crc32c":"a0b1c2d3"},)"
      R"({"name":"/model/b","dtype":"int64","shape":[0],"offset":0,"bytes":0,"crc32c":"00000000"}],)"
      R"("blobs":[{"name":"/blobs/loader","dtype":"uint8","shape":[5],"offset":6000,"bytes":5,"crc32c":"ffffffff"}],)"
      R"("files":[{"file":"state.h5","bytes":5000000,"block_bytes":4194304,"crc32c":["00000001","deadbeef"]}]})"
      "\n";
  if (!from.empty()) body.replace(body.find(from), from.size(), to);
  return sign(body);
}

TEST(Manifest, of_version_1_has_one_file_and_a_piece_for_each_tensor_that_is_not_empty) {
  const Manifest manifest = parse_manifest(version_1(), "MANIFEST");
  EXPECT_EQ(manifest.block_bytes, 4'194'304U);
  EXPECT_EQ(manifest.files, (std::vector<FileRecord>{{"state.h5", 5'000'000, {1, 0xdeadbeefU}}}));
  EXPECT_EQ(manifest.tensors,
            (std::vector<TensorRecord>{{"/model/a", DType::float32, {2, 3}, {{0, 4096, 0, 6, 0xa0b1c2d3U}}},
                                       {"/model/b", DType::int64, {0}, {}}}));
  EXPECT_EQ(manifest.stored_blobs,
            (std::vector<TensorRecord>{{"/blobs/loader", DType::uint8, {5}, {{0, 6000, 0, 5, 0xffffffffU}}}}));
}

TEST(Manifest, forged_ones_of_version_1_are_refused) {
  EXPECT_THAT(refusal(version_1(R"({"file")", R"({},{"file")")), HasSubstr("exactly one entry"));
  EXPECT_THAT(refusal(version_1("\"bytes\":24", "\"bytes\":28")), HasSubstr("cannot have 28 bytes"));
  EXPECT_THAT(refusal(version_1("\"offset\":4096", "\"offset\":4999977")), HasSubstr("ends at byte 5000001"));
  EXPECT_THAT(refusal(version_1("/blobs/loader", "/model/loader")), HasSubstr("not a blob"));
  EXPECT_THAT(refusal(version_1("\"shape\":[5]", "\"shape\":[5,1]")), HasSubstr("not a blob"));
  EXPECT_THAT(refusal(version_1("\"block_bytes\":4194304", "\"block_bytes\":4194304000")),
              HasSubstr("not a number from 0"));
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
  const std::string text = forge(R"("schema_version":2)", R"("schema_version":3)");
  EXPECT_THAT(refusal(text),
              testing::AllOf(HasSubstr("run/MANIFEST"), HasSubstr("schema_version 3"), HasSubstr("reads up to 2"),
                             HasSubstr("Fix: use the lockstep that wrote it")));
}

TEST(Manifest, a_newer_schema_is_refused_before_its_other_fields_are_looked_at) {
  EXPECT_THAT(refusal(sign("{\"schema_version\":7}\n")), HasSubstr("schema_version 7"));
}

TEST(Manifest, names_that_are_not_utf8_are_the_callers_mistake) {
  Manifest manifest = sample();
  manifest.tensors[0].name = "/model/\xff";
  EXPECT_THROW(static_cast<void>(print_manifest(manifest)), UsageError);
  manifest = sample();
  manifest.blobs[0].second = "\xff";
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
        Forgery{"rank-00000", "../rank", "not a plain file name"}, Forgery{"index.h5", "..", "not a plain file name"},
        Forgery{"index.h5", "/etc/passwd", "not a plain file name"},
        Forgery{"index.h5", "MANIFEST", "not a plain file name"},
        Forgery{"index.h5", "state\\u0000.h5", "not a plain file name"},
        Forgery{"index.h5", "", "not a plain file name"}, Forgery{"index.h5", "rank-00000.h5", "stands twice"},
        Forgery{"\"bytes\":70000", "\"bytes\":9000000000000000000", "do not cover"},
        Forgery{"\"bytes\":70000", "\"bytes\":-1", "not a number from 0"},
        Forgery{"\"bytes\":70000", "\"bytes\":5e6", "not a number from 0"},
        Forgery{"\"bytes\":70000", "\"bytes\":99999999999999999999", "not a number from 0"},
        Forgery{"\"block_bytes\":65536", "\"block_bytes\":0", "do not cover"},
        Forgery{"\"block_bytes\":65536", "\"block_bytes\":4194304000", "not a number from 0"},
        Forgery{"00000001deadbeef", "deadbeef", "do not cover"}, Forgery{"00000001deadbeef", "1", "have 1 digits"},
        Forgery{"00000001deadbeef", "0000000gdeadbeef", "not a CRC-32C"},
        Forgery{"00000001deadbeef", "00000001DEADBEEF", "not a CRC-32C"},
        Forgery{"[0,4096,0,4,", "[3,4096,0,4,", "lies in file 3"},
        Forgery{"[0,4096,0,4,", "[0,69985,0,4,", "ends at byte 70001 of rank-00000.h5, a file of 70000"},
        Forgery{"[0,4096,0,4,", "[0,9223372036854775807,0,4,", "ends at byte"},
        Forgery{"[0,4096,0,4,", "[0,4096,1,4,", "0 of 6 came before"},
        Forgery{"[0,4096,0,4,", "[0,4096,0,3,", "3 of 6 came before"},
        Forgery{"[0,4096,0,4,", "[0,4096,0,0,", "has 0 elements"},
        Forgery{"[0,4096,0,4,", "[0,4096,0,7,", "has 7 elements"},
        Forgery{",[1,64,4,2,\"00000001\"]", "", "4 of 6 elements"}, Forgery{"[2,3]", "[2,4]", "6 of 8 elements"},
        Forgery{"[2,3]", "[-2,-3]", "not a number from 0"},
        Forgery{"[2,3]", "[4294967296,4294967296,4]", "has the shape"}, Forgery{"0.875", "\"a\"", "must be number"},
        Forgery{"float32", "float99", "not a dtype"}, Forgery{"/model/a", "/model/../a", "not a dataset's path"},
        Forgery{"/model/a", "model", "not a dataset's path"}, Forgery{"/model/a", "/model/b", "twice"},
        Forgery{"/model/a", "/model/c", "out of order"}, Forgery{"/model/a", "/blobs/a", "a blob's name"},
        Forgery{"\"blobs\":{", "\"blobs\":{\"a\":1,", "must be string"},
        Forgery{"\"step\":12", "\"step\":9223372036854775808", "not a number from 0"},
        Forgery{"\"world_size\":2", "\"world_size\":4294967296", "not a number from 0"},
        Forgery{"\"seed\":18000000000000000000", "\"seed\":\"a\"", "not a number from 0"},
        Forgery{"\"step\":12,", "", "key 'step' not found"}, Forgery{"{", "[", "parse error"}));

}  // namespace
}  // namespace lockstep
