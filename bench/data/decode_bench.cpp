// SPDX-License-Identifier: Apache-2.0
// How much of libjpeg's speed the JPEG decoder keeps: a plain loop of libjpeg and Decoder::decode into the places of a
// batch, over the same files. Run with --benchmark_enable_random_interleaving=true --benchmark_repetitions=9.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "jpegs.hpp"
#include "lockstep/dataloader/decode.hpp"

namespace {

constexpr int kImages = 8;  // of a batch; other files than the one before, as in training

const std::vector<std::vector<std::byte>>& files_of(std::size_t size) {
  static const auto all = [] {
    std::array<std::vector<std::vector<std::byte>>, kImageSizes.size()> made;
    for (std::size_t s = 0; s < kImageSizes.size(); ++s) {
      for (std::uint32_t i = 0; i < kImages; ++i) made.at(s).push_back(make_jpeg(kImageSizes.at(s), i));
    }
    return made;
  }();
  return all.at(size);
}

void report(benchmark::State& state, const std::vector<std::vector<std::byte>>& files, ImageSize size) {
  state.SetItemsProcessed(state.iterations() * kImages);
  const double bits_per_pixel = 8.0 * static_cast<double>(files[0].size()) / (size.height * size.width);
  state.counters["bits_per_pixel"] = benchmark::Counter(bits_per_pixel, benchmark::Counter::kAvgThreads);
}

void plain_loop(benchmark::State& state) {
  const auto& files = files_of(static_cast<std::size_t>(state.range(0)));
  const ImageSize size = kImageSizes.at(static_cast<std::size_t>(state.range(0)));
  std::vector<JSAMPLE> batch(std::size_t{kImages} * size.height * size.width * 3);
  PlainJpeg plain;
  for (auto _ : state) {
    JSAMPLE* row = batch.data();
    for (const auto& file : files) row = plain.decode(file, row);
    benchmark::DoNotOptimize(batch.data());
  }
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
  report(state, files, kImageSizes.at(static_cast<std::size_t>(state.range(0))));
}

void over_sizes_and_threads(benchmark::internal::Benchmark* bench) {
  bench->DenseRange(0, static_cast<std::int64_t>(kImageSizes.size()) - 1)->ArgName("size")->UseRealTime();
  bench->Threads(1)->Threads(2)->Unit(benchmark::kMillisecond);
}

BENCHMARK(plain_loop)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, uint8_hwc, lockstep::DType::uint8, false)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, uint8_chw, lockstep::DType::uint8, true)->Apply(over_sizes_and_threads);
BENCHMARK_CAPTURE(decoder, float32_chw, lockstep::DType::float32, true)->Apply(over_sizes_and_threads);

}  // namespace

BENCHMARK_MAIN();
