// SPDX-License-Identifier: Apache-2.0
// JSON, and the encodings that hold nothing but their elements.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataloader/decoding.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using namespace std::string_literals;

constexpr std::string_view kFrame =
    R"({"ego": {"speed": 12.5, "gear": 3, "pose": [1, 2.5, -3]}, "city": "Ulm", "a/b": 7})";

FieldOptions at(const char* pointer, std::optional<DType> dtype = {}) {
  return {.name = "field", .dtype = dtype, .pointer = pointer};
}

TEST(DecodeJson, finds_a_number_by_its_pointer) {
  const auto made = decoder("json", bytes_of(kFrame), at("/ego/speed"));
  EXPECT_EQ(made->delivered().dtype, DType::float64);
  EXPECT_THAT(made->delivered().shape, ElementsAre());
  EXPECT_THAT(decoded<double>(*made, bytes_of(kFrame)), ElementsAre(12.5));
  EXPECT_THAT(decoded<std::int64_t>(*decoder("json", bytes_of(kFrame), at("/a~1b", DType::int64)), bytes_of(kFrame)),
              ElementsAre(7));
}

TEST(DecodeJson, delivers_an_array_of_numbers) {
  const auto made = decoder("json", bytes_of(kFrame), at("/ego/pose", DType::float32));
  EXPECT_THAT(made->delivered().shape, ElementsAre(3));
  EXPECT_THAT(decoded<float>(*made, bytes_of(kFrame)), ElementsAre(1, 2.5F, -3));
}

TEST(DecodeJson, the_whole_document_can_be_the_array) {
  EXPECT_THAT(decoded<double>(*decoder("json", bytes_of("[4, 5]")), bytes_of("[4, 5]")), ElementsAre(4, 5));
}

TEST(DecodeJson, rows_differ_where_the_field_is_ragged) {
  auto options = at("/ego/pose");
  options.ragged = true;
  const auto made = decoder("json", bytes_of(kFrame), options);
  constexpr std::string_view kOther = R"({"ego": {"pose": [8]}})";
  EXPECT_EQ(made->rows(bytes_of(kOther)), 1);
  EXPECT_THAT(decoded<double>(*made, bytes_of(kOther)), ElementsAre(8));
}

TEST(DecodeJson, another_form_is_told_from_damage) {
  const auto refuses = [](const FieldOptions& options, std::string_view text, const char* why) {
    const auto made = decoder("json", bytes_of(kFrame), options);
    try {
      (void)decoded<std::byte>(*made, bytes_of(text));
      FAIL() << why;
    } catch (const DamagedSample&) {
      FAIL() << "the sample is good: " << why;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("field \"field\" (json)"), HasSubstr(why)));
    }
  };
  refuses(at("/ego/speed"), R"({"ego": {}})", "it has no \"/ego/speed\"");
  refuses(at("/ego/speed"), R"({"ego": {"speed": "fast"}})", "\"/ego/speed\" is a string, not a number");
  refuses(at("/ego/speed"), R"({"ego": {"speed": [1]}})", "is an array of 1, not a number");
  refuses(at("/ego/pose"), R"({"ego": {"pose": [1, 2]}})", "is an array of 2, not an array [3] of numbers");
  refuses(at("/ego/pose"), R"({"ego": {"pose": [1, 2, null]}})", "holds a null, which is not a number");
  refuses(at("/ego/gear", DType::int64), R"({"ego": {"gear": 2.5}})", "holds a number, which is not an integer");
  refuses(at("/ego/gear", DType::int64), R"({"ego": {"gear": 18446744073709551615}})", "which is not an integer");
}

TEST(DecodeJson, other_text_is_damaged) {
  const auto made = decoder("json", bytes_of(kFrame), at("/ego/speed"));
  for (const std::string text :
       {"", "{", R"({"ego": {"speed": 1e999}})", "\xFF\xFE", R"({"ego": {"speed": 1}} more)"}) {
    EXPECT_THROW((void)decoded<double>(*made, bytes_of(text)), DamagedSample) << text;
  }
}

TEST(DecodeJson, deep_nesting_is_survived) {
  const auto made = decoder("json", bytes_of(kFrame), at("/ego/speed"));
  const std::string open(100'000, '[');
  EXPECT_THROW((void)decoded<double>(*made, bytes_of(open)), DamagedSample);
  EXPECT_THROW((void)decoded<double>(*made, bytes_of(open + std::string(100'000, ']'))), DataError);
}

TEST(DecodeJson, refuses_options_that_it_does_not_have) {
  const auto refuses = [](const FieldOptions& options, const char* why) {
    EXPECT_THAT([&] { (void)decoder("json", bytes_of(kFrame), options); },
                ThrowsMessage<UsageError>(AllOf(HasSubstr("field \"field\" (json)"), HasSubstr(why))));
  };
  refuses(at("ego"), "\"ego\" is not a JSON pointer");
  refuses(at("/ego/speed", DType::uint8), "not delivered as uint8");
  refuses({.name = "field", .scale = 2.0}, "scale");
  refuses({.name = "field", .shrink = 2}, "options of images");
}

TEST(DecodeJson, any_flipped_bit_is_survived) {
  const auto file = bytes_of(kFrame);
  EXPECT_GT(refused_of_damaged("json", {file.begin(), file.end()}, at("/ego/pose")), 0);
}

TEST(DecodeRaw, copies_or_converts_elements) {
  const StoredField stored{.name = "field", .encoding = "raw", .dtype = DType::int16, .shape = {2}};
  const std::string text = "\x01\0\xFE\xFF"s;
  const auto same = make_decoder(stored, {.name = "field"}, {});
  EXPECT_EQ(same->delivered(), (FieldInfo{.name = "field", .dtype = DType::int16, .shape = {2}}));
  EXPECT_THAT(decoded<std::int16_t>(*same, bytes_of(text)), ElementsAre(1, -2));
  const auto scaled = make_decoder(stored, {.name = "field", .dtype = DType::float32, .scale = 0.5, .offset = 1.0}, {});
  EXPECT_THAT(decoded<float>(*scaled, bytes_of(text)), ElementsAre(1.5F, 0.0F));
  EXPECT_THROW((void)decoded<float>(*scaled, bytes_of(text).first(3)), DamagedSample);
}

TEST(DecodeRaw, every_type_is_delivered_as_it_is) {
  const std::string text(16, 'x');
  for (const auto dtype : {DType::float16, DType::bfloat16, DType::boolean, DType::int32, DType::float64}) {
    const StoredField stored{.name = "field", .encoding = "raw", .dtype = dtype, .shape = {-1, 2}};
    const auto made = make_decoder(stored, {.name = "field"}, {});
    EXPECT_THAT(made->delivered().shape, ElementsAre(-1, 2));
    EXPECT_EQ(made->rows(bytes_of(text)), static_cast<std::int64_t>(8 / size_of(dtype)));
    EXPECT_EQ(decoded<char>(*made, bytes_of(text)), std::vector<char>(16, 'x'));
  }
}

TEST(DecodeRaw, half_a_row_is_damaged) {
  const StoredField stored{.name = "field", .encoding = "raw", .dtype = DType::float32, .shape = {-1, 4}};
  const auto made = make_decoder(stored, {.name = "field"}, {});
  EXPECT_THAT([&] { (void)made->rows(bytes_of("123456789")); },
              ThrowsMessage<DamagedSample>(HasSubstr("9 bytes are not whole rows of 16 bytes")));
}

TEST(DecodeRaw, refuses_what_it_cannot_convert) {
  const StoredField stored{.name = "field", .encoding = "raw", .dtype = DType::float32, .shape = {1}};
  EXPECT_THAT([&] { (void)make_decoder(stored, {.name = "field", .dtype = DType::int64}, {}); },
              ThrowsMessage<UsageError>(HasSubstr("float32 is not delivered as int64")));
  const StoredField huge{.name = "field", .encoding = "raw", .dtype = DType::float32, .shape = {1LL << 62, 8}};
  EXPECT_THAT([&] { (void)make_decoder(huge, {.name = "field"}, {}); },
              ThrowsMessage<DataError>(HasSubstr("no sample can have the shape")));
  EXPECT_THAT([&] { (void)make_decoder({.name = "field", .encoding = "avi"}, {.name = "field"}, {}); },
              ThrowsMessage<UsageError>(HasSubstr("there is no decoder for this encoding")));
}

TEST(DecodeTokens, become_int64) {
  const std::string text = "\x01\0\xFF\xFF\x02\0\0\x80"s;
  const auto narrow = decoder("tokens16", bytes_of(text));
  EXPECT_THAT(narrow->delivered().shape, ElementsAre(4));
  EXPECT_THAT(decoded<std::int64_t>(*narrow, bytes_of(text)), ElementsAre(1, 65535, 2, 32768));
  EXPECT_THAT(decoded<std::int64_t>(*decoder("tokens32", bytes_of(text)), bytes_of(text)),
              ElementsAre(0xFFFF0001, 0x80000002));
}

TEST(DecodeBytes, are_ragged) {
  const auto made = decoder("bytes", {});
  EXPECT_EQ(made->delivered(), (FieldInfo{.name = "field", .dtype = DType::uint8, .shape = {-1}}));
  EXPECT_THAT(decoded<char>(*made, bytes_of("abc")), ElementsAre('a', 'b', 'c'));
  EXPECT_THAT(decoded<char>(*made, {}), ElementsAre());
}

TEST(DecodeBytes, are_a_number_in_digits_where_that_is_asked_for) {
  const auto made = decoder("bytes", {}, {.name = "field", .dtype = DType::int64});
  EXPECT_THAT(decoded<std::int64_t>(*made, bytes_of(" 42\n")), ElementsAre(42));
  EXPECT_THAT(decoded<std::int64_t>(*made, bytes_of("-7")), ElementsAre(-7));
  for (const char* text : {"", " ", "4 2", "1.5", "cat", "9223372036854775808"}) {
    EXPECT_THROW((void)decoded<std::int64_t>(*made, bytes_of(text)), DamagedSample) << text;
  }
}

}  // namespace
}  // namespace lockstep::test
