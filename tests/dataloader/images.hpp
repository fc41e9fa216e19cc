// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <jpeglib.h>
#include <png.h>

namespace lockstep::test {

// A picture of known content, and its files as libjpeg and libpng write them.
struct Picture {
  int height = 0;
  int width = 0;
  int channels = 3;                  // as in `pixels`
  std::vector<std::uint8_t> pixels;  // [height, width, channels]
};

// Smooth shades with sharp edges and some noise, so that every coefficient matters.
inline Picture picture(int height, int width, int channels = 3) {
  Picture made{.height = height, .width = width, .channels = channels, .pixels = {}};
  std::uint32_t noise = 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        noise = noise * 1664525U + 1013904223U;
        const int edge = ((x / 5 + y / 3) % 2) * 60 * (c + 1) / 2;
        made.pixels.push_back(static_cast<std::uint8_t>((3 * x + 2 * y * (c + 1)) % 160 + edge % 90 + (noise >> 29)));
      }
    }
  }
  return made;
}

struct JpegOptions {
  int quality = 90;
  int across = 2;  // luma samples for one of chroma: 2 × 2 is 4:2:0
  int down = 2;
  bool progressive = false;
};

inline std::vector<std::byte> jpeg_of(const Picture& from, const JpegOptions& options = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&info, &buffer, &bytes);
  info.image_width = static_cast<JDIMENSION>(from.width);
  info.image_height = static_cast<JDIMENSION>(from.height);
  info.input_components = from.channels;
  info.in_color_space = from.channels == 4 ? JCS_CMYK : from.channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, options.quality, TRUE);
  if (from.channels == 3) {
    info.comp_info[0].h_samp_factor = options.across;
    info.comp_info[0].v_samp_factor = options.down;
  }
  if (options.progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPLE*>(from.pixels.data()) + static_cast<std::size_t>(info.next_scanline) *
                                                               info.image_width *
                                                               static_cast<std::size_t>(info.input_components);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::vector<std::byte> file(bytes);
  std::memcpy(file.data(), buffer, bytes);
  std::free(buffer);
  jpeg_destroy_compress(&info);
  return file;
}

// What libjpeg's plain loop makes of a whole file; what `djpeg -dct int -scale 1/shrink` prints.
inline Picture reference_of(std::span<const std::byte> file, int channels = 3, int shrink = 1) {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = static_cast<unsigned>(shrink);
  jpeg_start_decompress(&info);
  Picture made{.height = static_cast<int>(info.output_height),
               .width = static_cast<int>(info.output_width),
               .channels = channels,
               .pixels = {}};
  const std::size_t row_bytes = std::size_t{info.output_width} * static_cast<std::size_t>(channels);
  made.pixels.resize(info.output_height * row_bytes);
  while (info.output_scanline < info.output_height) {
    JSAMPLE* row = made.pixels.data() + info.output_scanline * row_bytes;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return made;
}

struct PngOptions {
  int colours = PNG_COLOR_TYPE_RGB;
  int bits = 8;
  bool interlaced = false;
};

// `rows`: as libpng takes them (big-endian where 16 bits), `row_bytes` each. Palettes have entries (i, 2 i, 3 i).
inline std::vector<std::byte> png_of(int height, int width, std::span<const std::uint8_t> rows, std::size_t row_bytes,
                                     const PngOptions& options = {}) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  std::vector<std::byte> file;
  png_set_write_fn(
      png, &file,
      [](png_structp writer, png_bytep bytes, std::size_t count) {
        auto& to = *static_cast<std::vector<std::byte>*>(png_get_io_ptr(writer));
        const auto* const from = reinterpret_cast<const std::byte*>(bytes);
        to.insert(to.end(), from, from + count);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), options.bits,
               options.colours, options.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
  std::vector<png_color> palette;
  for (int i = 0; options.colours == PNG_COLOR_TYPE_PALETTE && i < 1 << options.bits; ++i) {
    palette.push_back({static_cast<png_byte>(i), static_cast<png_byte>(2 * i), static_cast<png_byte>(3 * i)});
  }
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  png_write_info(png, info);
  std::vector<png_bytep> places;
  for (int row = 0; row < height; ++row) {
    places.push_back(const_cast<png_bytep>(rows.data()) + static_cast<std::size_t>(row) * row_bytes);
  }
  png_write_image(png, places.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

}  // namespace lockstep::test
