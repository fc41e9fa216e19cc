// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/shard_writer.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {

using test::TemporaryDirectory;

inline void write_text(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// Packs samples of shape [1, 2, 2] whose target is their own number, so that a test can tell which samples it got.
// Pixel j of sample i is (4 i + j) mod 256.
inline void pack_numbered(const std::filesystem::path& folder, std::int64_t samples, int shards) {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> numbers;
  for (std::int64_t i = 0; i < samples; ++i) {
    numbers.push_back(static_cast<std::int32_t>(i));
    for (std::int64_t j = 0; j < 4; ++j) {
      pixels.push_back(static_cast<std::uint8_t>(4 * i + j));
    }
  }
  const std::vector<FieldColumn> columns{
      {{.name = "data", .dtype = DType::uint8, .shape = {1, 2, 2}}, bytes_of(pixels)},
      {{.name = "target", .dtype = DType::int32, .shape = {}, .delivered = DType::int64}, bytes_of(numbers)},
  };
  write_shards(folder, samples, columns, shards);
}

}  // namespace lockstep
