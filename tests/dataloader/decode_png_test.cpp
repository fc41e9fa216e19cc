// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataloader/decoding.hpp"
#include "dataloader/images.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::byte> png_file(const Picture& from, PngOptions options = {}) {
  options.colours = from.channels == 1   ? PNG_COLOR_TYPE_GRAY
                    : from.channels == 3 ? PNG_COLOR_TYPE_RGB
                                         : PNG_COLOR_TYPE_RGB_ALPHA;
  return png_of(from.height, from.width, from.pixels, static_cast<std::size_t>(from.width * from.channels), options);
}

TEST(DecodePng, gives_the_pixels_that_were_stored) {
  const auto image = picture(13, 17);
  for (const bool interlaced : {false, true}) {
    const auto file = png_file(image, {.interlaced = interlaced});
    const auto made = decoder("png", file, {.name = "field", .channels_first = false});
    EXPECT_THAT(made->delivered().shape, ElementsAre(13, 17, 3));
    EXPECT_EQ(decoded<std::uint8_t>(*made, file), image.pixels);
  }
}

TEST(DecodePng, puts_each_colour_into_its_plane) {
  const std::vector<std::uint8_t> pixels{1, 2, 3, 4, 5, 6};
  const auto file = png_of(1, 2, pixels, 6);
  const auto made = decoder("png", file);
  EXPECT_THAT(made->delivered().shape, ElementsAre(3, 1, 2));
  EXPECT_THAT(decoded<std::uint8_t>(*made, file), ElementsAre(1, 4, 2, 5, 3, 6));
  const auto scaled = decoder("png", file, {.name = "field", .dtype = DType::float32, .scale = 0.5, .offset = 1.0});
  EXPECT_THAT(decoded<float>(*scaled, file), ElementsAre(1.5F, 3.0F, 2.0F, 3.5F, 2.5F, 4.0F));
}

TEST(DecodePng, grey_becomes_colours_where_they_are_asked_for) {
  const auto file = png_file(picture(1, 2, 1));
  const auto grey = decoded<std::uint8_t>(*decoder("png", file, {.name = "field", .channels = 1}), file);
  EXPECT_EQ(grey, picture(1, 2, 1).pixels);
  EXPECT_THAT(decoded<std::uint8_t>(*decoder("png", file), file),
              ElementsAre(grey[0], grey[1], grey[0], grey[1], grey[0], grey[1]));
}

TEST(DecodePng, alpha_is_left_out) {
  const std::vector<std::uint8_t> pixels{1, 2, 3, 0, 4, 5, 6, 128};
  const auto file = png_of(1, 2, pixels, 8, {.colours = PNG_COLOR_TYPE_RGB_ALPHA});
  EXPECT_THAT(decoded<std::uint8_t>(*decoder("png", file, {.name = "field", .channels_first = false}), file),
              ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(DecodePng, a_palette_becomes_its_colours) {
  const std::vector<std::uint8_t> pixels{7, 9};
  const auto file = png_of(1, 2, pixels, 2, {.colours = PNG_COLOR_TYPE_PALETTE});
  EXPECT_THAT(decoded<std::uint8_t>(*decoder("png", file, {.name = "field", .channels_first = false}), file),
              ElementsAre(7, 14, 21, 9, 18, 27));
}

TEST(DecodePng, bits_become_bytes) {
  const std::vector<std::uint8_t> pixels{0b10100000};
  const auto file = png_of(1, 4, pixels, 1, {.colours = PNG_COLOR_TYPE_GRAY, .bits = 1});
  EXPECT_THAT(decoded<std::uint8_t>(*decoder("png", file, {.name = "field", .channels = 1}), file),
              ElementsAre(255, 0, 255, 0));
}

TEST(DecodePng, sixteen_bits_become_int32_or_float32) {
  const std::vector<std::uint8_t> pixels{0x01, 0x02, 0xFF, 0xFE};  // big-endian
  const auto file = png_of(1, 2, pixels, 4, {.colours = PNG_COLOR_TYPE_GRAY, .bits = 16});
  const auto made = decoder("png", file, {.name = "field", .channels = 1});
  EXPECT_EQ(made->delivered().dtype, DType::int32);
  EXPECT_THAT(decoded<std::int32_t>(*made, file), ElementsAre(0x0102, 0xFFFE));
  const auto scaled = decoder("png", file, {.name = "field", .dtype = DType::float32, .scale = 0.5});
  EXPECT_THAT(decoded<float>(*scaled, file), ElementsAre(129, 32767, 129, 32767, 129, 32767));
  EXPECT_THAT(
      [&] { (void)decoder("png", file, {.name = "field", .dtype = DType::uint8}); },
      ThrowsMessage<UsageError>(HasSubstr("16 bits are not delivered as uint8. Fix: ask for int32 or float32")));
}

TEST(DecodePng, a_region_is_cut_out) {
  const std::vector<std::uint8_t> pixels{1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto file = png_of(3, 3, pixels, 3, {.colours = PNG_COLOR_TYPE_GRAY});
  const auto made = decoder("png", file, {.name = "field", .region = Region{1, 0, 2, 2}, .channels = 1});
  EXPECT_THAT(decoded<std::uint8_t>(*made, file), ElementsAre(4, 5, 7, 8));
}

TEST(DecodePng, an_image_of_another_form_is_told_from_damage) {
  const auto made = decoder("png", png_file(picture(4, 4, 1)), {.name = "field", .channels = 1});
  const auto refuses = [&](const std::vector<std::byte>& file, const char* why) {
    try {
      (void)decoded<std::uint8_t>(*made, file);
      FAIL() << why;
    } catch (const DamagedSample&) {
      FAIL() << "the sample is good: " << why;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  };
  refuses(png_file(picture(4, 5, 1)), "the image is 4 × 5, the field's are 4 × 4");
  refuses(png_file(picture(4, 4, 3)), "the image is coloured with 8 bits, the field's are grey with 8 bits");
  const std::vector<std::uint8_t> wide(32);
  refuses(png_of(4, 4, wide, 8, {.colours = PNG_COLOR_TYPE_GRAY, .bits = 16}), "grey with 16 bits");
}

TEST(DecodePng, a_file_that_ends_early_is_damaged) {
  const auto file = png_file(picture(16, 16));
  const auto made = decoder("png", file);
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_THROW((void)decoded<std::uint8_t>(*made, std::span(file).first(length)), DamagedSample) << length;
  }
}

TEST(DecodePng, any_flipped_bit_is_refused) {  // PNG has checksums
  const auto file = png_file(picture(5, 7));
  const auto attempts = static_cast<int>(9 * file.size());
  // All but what libpng ignores in chunks that it does not need.
  EXPECT_GT(refused_of_damaged("png", file), attempts * 9 / 10);
  EXPECT_GT(refused_of_damaged("png", png_file(picture(5, 7), {.interlaced = true})), 0);
}

TEST(DecodePng, refuses_what_it_does_not_do) {
  const auto file = png_file(picture(4, 4));
  const auto refuses = [&](const FieldOptions& options, const char* why) {
    EXPECT_THAT([&] { (void)decoder("png", file, options); },
                ThrowsMessage<UsageError>(AllOf(HasSubstr("field \"field\" (png)"), HasSubstr(why))));
  };
  refuses({.name = "field", .shrink = 2}, "shrink = 2");
  refuses({.name = "field", .channels = 1}, "coloured images are not delivered as grey");
}

}  // namespace
}  // namespace lockstep::test
