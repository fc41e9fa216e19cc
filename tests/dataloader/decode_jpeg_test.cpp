// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "dataloader/decoding.hpp"
#include "dataloader/images.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::uint8_t> planes_of(const Picture& picture) {
  std::vector<std::uint8_t> planes;
  for (int c = 0; c < picture.channels; ++c) {
    for (std::size_t i = static_cast<std::size_t>(c); i < picture.pixels.size();
         i += static_cast<std::size_t>(picture.channels)) {
      planes.push_back(picture.pixels[i]);
    }
  }
  return planes;
}

Picture cropped(const Picture& whole, int top, int left, int height, int width) {
  Picture part{.height = height, .width = width, .channels = whole.channels, .pixels = {}};
  for (int y = top; y < top + height; ++y) {
    const auto first = whole.pixels.begin() + (y * whole.width + left) * whole.channels;
    part.pixels.insert(part.pixels.end(), first, first + width * whole.channels);
  }
  return part;
}

TEST(DecodeJpeg, gives_the_bits_of_the_plain_loop) {
  for (const bool progressive : {false, true}) {
    for (const auto& [across, down] : {std::pair{2, 2}, {2, 1}, {1, 1}, {1, 2}, {4, 1}}) {
      const auto file = jpeg_of(picture(45, 67), {.across = across, .down = down, .progressive = progressive});
      const auto made = decoder("jpg", file, {.name = "field", .channels_first = false});
      EXPECT_THAT(made->delivered().shape, ElementsAre(45, 67, 3));
      EXPECT_EQ(decoded<std::uint8_t>(*made, file), reference_of(file).pixels) << across << "x" << down;
    }
  }
}

TEST(DecodeJpeg, puts_each_colour_into_its_plane) {
  const auto file = jpeg_of(picture(45, 67));
  const auto made = decoder("jpg", file);
  EXPECT_EQ(made->delivered().dtype, DType::uint8);
  EXPECT_THAT(made->delivered().shape, ElementsAre(3, 45, 67));
  EXPECT_EQ(decoded<std::uint8_t>(*made, file), planes_of(reference_of(file)));
}

TEST(DecodeJpeg, turns_colours_into_grey_and_grey_into_colours) {
  const auto coloured = jpeg_of(picture(20, 30));
  const auto grey = decoder("jpg", coloured, {.name = "field", .channels = 1});
  EXPECT_THAT(grey->delivered().shape, ElementsAre(1, 20, 30));
  EXPECT_EQ(decoded<std::uint8_t>(*grey, coloured), reference_of(coloured, 1).pixels);
  const auto file = jpeg_of(picture(20, 30, 1));
  EXPECT_EQ(decoded<std::uint8_t>(*decoder("jpg", file), file), planes_of(reference_of(file)));
}

TEST(DecodeJpeg, scales_after_decoding_in_float32) {
  const auto file = jpeg_of(picture(20, 33));
  for (const bool channels_first : {false, true}) {
    const auto pixels = channels_first ? planes_of(reference_of(file)) : reference_of(file).pixels;
    std::vector<float> expected;
    for (const auto pixel : pixels) expected.push_back(static_cast<float>(pixel) * 0.1F + -3.0F);
    const FieldOptions options{
        .name = "field", .dtype = DType::float32, .scale = 0.1, .offset = -3.0, .channels_first = channels_first};
    EXPECT_EQ(decoded<float>(*decoder("jpg", file, options), file), expected);
  }
}

// The decoder of libjpeg that crops and skips smooths chroma differently at the edges of what it decodes.
TEST(DecodeJpeg, a_region_has_the_bits_of_the_same_part_of_the_whole) {
  constexpr int kHeight = 83;
  constexpr int kWidth = 101;
  for (const bool progressive : {false, true}) {
    for (const auto& [across, down] : {std::pair{2, 2}, {2, 1}, {1, 1}, {1, 2}}) {
      const auto file = jpeg_of(picture(kHeight, kWidth), {.across = across, .down = down, .progressive = progressive});
      const auto whole = reference_of(file);
      for (int top = 0; top < kHeight; top += 7) {
        for (int left = 0; left < kWidth; left += 9) {
          for (const int size : {1, 2, 17, 40}) {
            const int height = std::min(size, kHeight - top);
            const int width = std::min(size + 3, kWidth - left);
            const FieldOptions options{
                .name = "field", .region = Region{top, left, height, width}, .channels_first = false};
            ASSERT_EQ(decoded<std::uint8_t>(*decoder("jpg", file, options), file),
                      cropped(whole, top, left, height, width).pixels)
                << across << "x" << down << " " << top << "," << left << " " << height << "," << width;
          }
        }
      }
    }
  }
}

TEST(DecodeJpeg, a_shrunk_image_has_the_bits_of_libjpegs_scale) {
  const auto file = jpeg_of(picture(83, 101));
  for (const int shrink : {2, 4, 8}) {
    const auto whole = reference_of(file, 3, shrink);
    const auto made = decoder("jpg", file, {.name = "field", .shrink = shrink});
    EXPECT_THAT(made->delivered().shape, ElementsAre(3, (83 + shrink - 1) / shrink, (101 + shrink - 1) / shrink));
    EXPECT_EQ(decoded<std::uint8_t>(*made, file), planes_of(whole));
    const Region region{.top = 16, .left = 40, .height = 50, .width = 33};
    const auto part = cropped(whole, 16 / shrink, 40 / shrink, (50 + shrink - 1) / shrink, (33 + shrink - 1) / shrink);
    EXPECT_EQ(decoded<std::uint8_t>(*decoder("jpg", file, {.name = "field", .region = region, .shrink = shrink}), file),
              planes_of(part))
        << shrink;
  }
}

TEST(DecodeJpeg, a_region_of_images_of_several_sizes_is_delivered) {
  const auto small = jpeg_of(picture(40, 40));
  const auto large = jpeg_of(picture(60, 50));
  const auto made = decoder(
      "jpg", small,
      {.name = "field", .region = Region{.top = 8, .left = 8, .height = 20, .width = 20}, .channels_first = false});
  EXPECT_EQ(decoded<std::uint8_t>(*made, large), cropped(reference_of(large), 8, 8, 20, 20).pixels);
  EXPECT_THAT([&] { (void)decoded<std::uint8_t>(*made, jpeg_of(picture(20, 40))); },
              ThrowsMessage<DataError>(HasSubstr("the image is 20 × 40, the field's region is 20 × 20 at row 8")));
}

TEST(DecodeJpeg, an_image_of_another_size_is_another_form) {
  const auto made = decoder("jpg", jpeg_of(picture(40, 40)));
  try {
    (void)decoded<std::uint8_t>(*made, jpeg_of(picture(40, 41)));
    FAIL();
  } catch (const DamagedSample&) {
    FAIL() << "the sample is good";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("40 × 41"), HasSubstr("40 × 40"), HasSubstr("Fix: ")));
  }
}

TEST(DecodeJpeg, cmyk_is_another_form) {
  const auto made = decoder("jpg", jpeg_of(picture(16, 16)));
  EXPECT_THAT([&] { (void)decoded<std::uint8_t>(*made, jpeg_of(picture(16, 16, 4))); },
              ThrowsMessage<DataError>(HasSubstr("CMYK")));
}

TEST(DecodeJpeg, a_file_that_ends_early_is_damaged_and_not_half_grey) {
  for (const bool progressive : {false, true}) {
    const auto file = jpeg_of(picture(64, 64), {.progressive = progressive});
    const auto made = decoder("jpg", file);
    for (std::size_t length = 0; length < file.size(); length += 5) {
      EXPECT_THROW((void)decoded<std::uint8_t>(*made, std::span(file).first(length)), DamagedSample) << length;
    }
  }
}

TEST(DecodeJpeg, other_bytes_are_damaged) {
  const auto made = decoder("jpg", jpeg_of(picture(16, 16)));
  EXPECT_THAT([&] { (void)decoded<std::uint8_t>(*made, bytes_of("GIF89a, say")); },
              ThrowsMessage<DamagedSample>(AllOf(HasSubstr("field \"field\" (jpg)"), HasSubstr("Not a JPEG file"))));
}

TEST(DecodeJpeg, decodes_well_after_damage) {
  const auto file = jpeg_of(picture(64, 64));
  const auto made = decoder("jpg", file, {.name = "field", .channels_first = false});
  EXPECT_THROW((void)decoded<std::uint8_t>(*made, std::span(file).first(file.size() / 2)), DamagedSample);
  EXPECT_EQ(decoded<std::uint8_t>(*made, file), reference_of(file).pixels);
}

TEST(DecodeJpeg, one_decoder_serves_many_threads) {
  const auto small = jpeg_of(picture(40, 40));
  const auto large = jpeg_of(picture(60, 50));
  const auto expected = reference_of(small).pixels;
  const auto made = decoder("jpg", small, {.name = "field", .channels_first = false});
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        EXPECT_THROW((void)decoded<std::uint8_t>(*made, large), DataError);
        right += decoded<std::uint8_t>(*made, small) == expected;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 4 * 50);
}

TEST(DecodeJpeg, any_flipped_bit_is_survived) {
  EXPECT_GT(refused_of_damaged("jpg", jpeg_of(picture(17, 19), {.quality = 50})), 0);
  EXPECT_GT(refused_of_damaged("jpg", jpeg_of(picture(17, 19), {.quality = 50, .progressive = true}),
                               {.name = "field", .region = Region{.top = 3, .left = 2, .height = 9, .width = 9}}),
            0);
}

TEST(DecodeJpeg, a_header_that_claims_more_pixels_than_its_bytes_hold_is_damaged) {
  auto file = jpeg_of(picture(16, 16));
  const auto frame = std::search(file.begin(), file.end(), bytes_of("\xFF\xC0").begin(), bytes_of("\xFF\xC0").end());
  ASSERT_NE(frame, file.end());
  for (int i = 5; i < 9; ++i) frame[i] = std::byte{0xF0};
  EXPECT_THAT([&] { (void)decoder("jpg", file); }, ThrowsMessage<DamagedSample>(HasSubstr("61680 × 61680 pixels")));
}

TEST(DecodeJpeg, refuses_options_that_images_do_not_have) {
  const auto file = jpeg_of(picture(16, 16));
  const auto refuses = [&](const FieldOptions& options, const char* why) {
    EXPECT_THAT(
        [&] { (void)decoder("jpg", file, options); },
        ThrowsMessage<UsageError>(AllOf(HasSubstr("field \"field\" (jpg)"), HasSubstr(why), HasSubstr("Fix: "))));
  };
  refuses({.name = "field", .dtype = DType::int64}, "int64");
  refuses({.name = "field", .scale = 2.0}, "scale");
  refuses({.name = "field", .ragged = true}, "ragged");
  refuses({.name = "field", .shrink = 3}, "shrink = 3");
  refuses({.name = "field", .channels = 4}, "channels = 4");
  refuses({.name = "field", .pointer = "/x"}, "pointer");
  refuses({.name = "field", .region = Region{.top = 0, .left = 8, .height = 4, .width = 9}},
          "is not inside the image of 16 × 16");
  refuses({.name = "field", .region = Region{.top = 1, .left = 0, .height = 4, .width = 4}, .shrink = 2},
          "between pixels");
}

}  // namespace
}  // namespace lockstep::test
