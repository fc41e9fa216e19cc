// SPDX-License-Identifier: Apache-2.0
// A folder of raw files with a manifest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "dataloader/synthetic.hpp"
#include "dataloader/tar_maker.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Files : public testing::Test {
 protected:
  Files() {
    std::filesystem::create_directory(folder_ / "images");
    write_text(folder_ / "images/a.jpg", "first");
    write_text(folder_ / "images/b.jpeg", "second");
  }
  [[nodiscard]] std::unique_ptr<const RecordReader> open(const std::string& manifest,
                                                         const RecordOptions& options = {}) const {
    write_text(folder_ / "manifest.jsonl", manifest);
    return open_records(open_store(folder_.path().string()), options);
  }
  void refuses(const std::string& manifest, const std::string& part, const RecordOptions& options = {}) const {
    EXPECT_THAT([&] { (void)open(manifest, options); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("manifest.jsonl, sample"), HasSubstr(part))));
  }
  void is_damaged(const std::string& manifest, const std::string& part) const {
    const auto reader = open(manifest);
    Record record;
    EXPECT_THAT(
        [&] { reader->read(0, record); },
        ThrowsMessage<DamagedSample>(AllOf(HasSubstr("manifest.jsonl, sample 0, field \"image\""), HasSubstr(part))));
  }
  TemporaryDirectory folder_;
};

TEST_F(Files, are_delivered_as_they_are_and_values_as_json) {
  const auto reader = open(R"({"image": "images/a.jpg", "label": 3, "pose": [1, 2.5], "note": {"value": "ü"}}

{"image": {"file": "images/b.jpeg"}, "label": 4, "pose": [], "note": {"value": null}})");
  EXPECT_EQ(reader->samples(), 2);
  EXPECT_THAT(names_of(reader->fields()), ElementsAre("image", "label", "note", "pose"));
  EXPECT_EQ(reader->fields()[0].encoding, "jpg");
  EXPECT_EQ(reader->fields()[1].encoding, "json");
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("first", "3", "\"ü\"", "[1,2.5]"));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("second", "4", "null", "[]"));
}

TEST_F(Files, come_in_the_order_asked_for) {
  const auto reader = open("{\"image\": \"images/a.jpg\", \"label\": 3}\n", {.fields = {"label", "image"}});
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("3", "first"));
}

TEST_F(Files, may_lack_a_field_that_nobody_asked_for) {
  const auto reader = open("{\"a\": 1, \"b\": 2}\n{\"b\": 3, \"c\": 4}\n");
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("(none)", "3"));
}

TEST_F(Files, are_checked_where_the_manifest_has_a_checksum) {
  const std::string good = "{\"image\": {\"file\": \"images/a.jpg\", \"crc32c\": \"";
  const auto crc = crc32c(std::as_bytes(std::span(std::string_view("first"))));
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", crc);
  EXPECT_THAT(read_texts(*open(good + digits + "\"}}"), 0), ElementsAre("first"));
  is_damaged(good + "00000000\"}}", "CRC-32C");
}

TEST_F(Files, that_are_missing_cost_their_sample) { is_damaged("{\"image\": \"images/none.jpg\"}", "no such file"); }

TEST_F(Files, stay_inside_the_folder) { is_damaged("{\"image\": \"../secret.jpg\"}", "leads out"); }

TEST_F(Files, with_an_impossible_manifest_are_refused) {
  refuses("", "no line");
  refuses("{\"image\": ", "parse error");
  refuses("[1]", "not a JSON object");
  refuses("{\"image\": {\"crc32c\": \"00000000\"}}", "no text \"file\"");
  refuses("{\"image\": {\"file\": 3}}", "no text \"file\"");
  refuses("{\"image\": {\"file\": \"a\", \"crc32c\": \"xyz\"}}", "8 hex digits");
  refuses("{\"a\": 1}\n{\"a\": \"x.jpg\"}", "field \"a\" is jpg, in the first sample it is json");
  refuses("{\"a\": 1}\n{\"b\": 1}", "does not have the field \"a\"", {.fields = {"a"}});
  refuses("{\"a\": 1}", "does not have the field \"b\"", {.fields = {"b"}});
  refuses("{\"a\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}", "nested too deeply");
  refuses("{\"a\": " + std::string(100'000, '['), "nested too deeply");
}

TEST_F(Files, have_another_fingerprint_with_another_manifest) {
  EXPECT_NE(open("{\"a\": 1}")->fingerprint(), open("{\"a\": 2}")->fingerprint());
  EXPECT_EQ(open("{\"a\": 1}")->fingerprint(), open("{\"a\": 1}")->fingerprint());
}

TEST_F(Files, a_sample_past_the_end_is_the_callers_mistake) {
  const auto reader = open("{\"a\": 1}");
  Record record;
  EXPECT_THROW(reader->read(1, record), UsageError);
}

}  // namespace
}  // namespace lockstep
