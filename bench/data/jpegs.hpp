// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <span>
#include <vector>

#include <jpeglib.h>

struct ImageSize {
  unsigned height;
  unsigned width;
};
constexpr std::array kImageSizes{ImageSize{256, 256}, ImageSize{512, 512}, ImageSize{1208, 1920}};

// About 2 bits a pixel at quality 85 and 4:2:0, as photographs have.
inline std::vector<std::byte> make_jpeg(ImageSize size, std::uint32_t noise) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&info, &buffer, &bytes);
  info.image_width = size.width;
  info.image_height = size.height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 85, TRUE);
  jpeg_start_compress(&info, TRUE);
  std::vector<JSAMPLE> pixels(size.width * 3);
  for (unsigned y = 0; y < size.height; ++y) {
    for (unsigned x = 0; x < size.width; ++x) {
      noise = noise * 1664525U + 1013904223U;
      const unsigned object = ((x / 37 + y / 23) % 5) * 20;
      for (unsigned c = 0; c < 3; ++c) {
        pixels[3 * x + c] = static_cast<JSAMPLE>(40 + object + (x * (c + 1) + y) / 32 % 64 + (noise >> 28U));
      }
    }
    JSAMPLE* row = pixels.data();
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  const auto* const first = reinterpret_cast<const std::byte*>(buffer);
  std::vector<std::byte> file(first, first + bytes);
  std::free(buffer);
  jpeg_destroy_compress(&info);
  return file;
}

// libjpeg without anything around it: what a decoder can reach at most.
class PlainJpeg {
 public:
  PlainJpeg() {
    info_.err = jpeg_std_error(&errors_);
    jpeg_create_decompress(&info_);
  }
  PlainJpeg(const PlainJpeg&) = delete;
  PlainJpeg& operator=(const PlainJpeg&) = delete;
  ~PlainJpeg() { jpeg_destroy_decompress(&info_); }

  // Returns what is behind the image's last row: rows of RGB, [height, width, 3].
  JSAMPLE* decode(std::span<const std::byte> file, JSAMPLE* row) {
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    jpeg_read_header(&info_, TRUE);
    jpeg_start_decompress(&info_);
    for (; info_.output_scanline < info_.output_height; row += std::size_t{info_.output_width} * 3) {
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return row;
  }

 private:
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
};
