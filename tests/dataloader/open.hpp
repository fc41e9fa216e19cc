// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

inline std::unique_ptr<const RecordReader> open_folder(const std::filesystem::path& folder,
                                                       const RecordOptions& options = {}) {
  return open_records(open_store(folder.string()), options);
}

inline Record read_record(const RecordReader& reader, std::int64_t sample) {
  Record record;
  reader.read(sample, record);
  return record;
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
std::vector<T> values_of(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Flips one bit; position counts bits.
inline void flip_bit(std::string& bytes, std::size_t position) {
  bytes[position / 8] = static_cast<char>(bytes[position / 8] ^ (1 << position % 8));
}

}  // namespace lockstep
