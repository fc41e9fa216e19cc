// SPDX-License-Identifier: Apache-2.0
// How much of libjpeg's speed the JPEG decoder keeps: a plain loop of libjpeg and Decoder::decode into the places of a
// batch, over the same files. Run with --benchmark_enable_random_interleaving=true --benchmark_repetitions=9.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <jpeglib.h>

#include "lockstep/dataloader/decode.hpp"

namespace {

constexpr int kImages = 8;  // of a batch; other files than the one before, as in training

struct Size {
  unsigned height;
  unsigned width;
};
constexpr std::array kSizes{Size{256, 256}, Size{512, 512}, Size{1208, 1920}};

// About 2 bits a pixel at quality 85 and 4:2:0, as photographs have.
std::vector<std::byte> make_jpeg(Size size, std::uint32_t noise) {
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

const std::vector<std::vector<std::byte>>& files_of(std::size_t size) {
  static const auto all = [] {
    std::array<std::vector<std::vector<std::byte>>, kSizes.size()> made;
    for (std::size_t s = 0; s < kSizes.size(); ++s) {
      for (std::uint32_t i = 0; i < kImages; ++i) made.at(s).push_back(make_jpeg(kSizes.at(s), i));
    }
    return made;
  }();
  return all.at(size);
}

void report(benchmark::State& state, const std::vector<std::vector<std::byte>>& files, Size size) {
  state.SetItemsProcessed(state.iterations() * kImages);
  const double bits_per_pixel = 8.0 * static_cast<double>(files[0].size()) / (size.height * size.width);
  state.counters["bits_per_pixel"] = benchmark::Counter(bits_per_pixel, benchmark::Counter::kAvgThreads);
}

void plain_loop(benchmark::State& state) {
  const auto& files = files_of(static_cast<std::size_t>(state.range(0)));
  const Size size = kSizes.at(static_cast<std::size_t>(state.range(0)));
  std::vector<JSAMPLE> batch(std::size_t{kImages} * size.height * size.width * 3);
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  for (auto _ : state) {
    JSAMPLE* row = batch.data();
    for (const auto& file : files) {
      jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
      jpeg_read_header(&info, TRUE);
      jpeg_start_decompress(&info);
      for (; info.output_scanline < info.output_height; row += std::size_t{size.width} * 3) {
        jpeg_read_scanlines(&info, &row, 1);
      }
      jpeg_finish_decompress(&info);
    }
    benchmark::DoNotOptimize(batch.data());
  }
  jpeg_destroy_decompress(&info);
  report(state, files, size);
}

void decoder(benchmark::State& state, lockstep::DType dtype, bool channels_first) {
  const auto& files = files_of(static_cast<std::size_t>(state.range(0)));
  const auto made = lockstep::make_decoder({.name = "jpg", .encoding = "jpg"},
                                           {.name = "jpg", .dtype = dtype, .channels_first = channels_first}, files[0]);
  const std::size_t bytes = made->delivered().row_bytes();
  std::vector<std::byte> batch(kImages * bytes);
  for (auto _ : state) {
    std::byte* place = batch.data();
    for (const auto& file : files) {
      made->decode(file, {place, bytes});
      place += bytes;
    }
    benchmark::DoNotOptimize(batch.data());
  }
  report(state, files, kSizes.at(static_cast<std::size_t>(state.range(0))));
}

void over_sizes_and_threads(benchmark::internal::Benchmark* bench) {
  bench->DenseRange(0, static_cast<std::int64_t>(kSizes.size()) - 1)->ArgName("size")->UseRealTime();
  bench->Threads(1)->Threads(2)->Unit(benchmark::kMillisecond);
}

BENCHMARK(plain_loop)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, uint8_hwc, lockstep::DType::uint8, false)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, uint8_chw, lockstep::DType::uint8, true)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, float32_chw, lockstep::DType::float32, true)->Apply(over_sizes_and_threads);

}  // namespace

BENCHMARK_MAIN();
