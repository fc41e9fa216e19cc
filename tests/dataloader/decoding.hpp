// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/decode.hpp"

namespace lockstep::test {

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::unique_ptr<const Decoder> decoder(std::string encoding, std::span<const std::byte> example,
                                              const FieldOptions& options = {.name = "field"}) {
  return make_decoder({.name = "field", .encoding = std::move(encoding)}, options, example);
}

// All elements of one sample.
template <typename T>
std::vector<T> decoded(const Decoder& decoder, std::span<const std::byte> stored) {
  const auto& info = decoder.delivered();
  std::vector<std::byte> place(info.row_bytes() * (info.ragged() ? static_cast<std::size_t>(decoder.rows(stored)) : 1));
  decoder.decode(stored, place);
  std::vector<T> values(place.size() / sizeof(T));
  if (!place.empty()) std::memcpy(values.data(), place.data(), place.size());
  return values;
}

// Hostile bytes as a sample of `good`, and as the example and a sample of a field of their own: what a fuzzer calls.
// Anything may be decoded, or a DataError be thrown; nothing else. True: they were refused.
inline bool refused(std::string_view encoding, std::span<const std::byte> hostile, const Decoder* good = nullptr,
                    const FieldOptions& options = {.name = "field"}) {
  const std::vector<std::byte> exact(hostile.begin(), hostile.end());  // so that reading past the end is seen
  try {
    if (good != nullptr) (void)decoded<std::byte>(*good, exact);
    (void)decoded<std::byte>(*decoder(std::string(encoding), exact, options), exact);
    return false;
  } catch (const DataError&) {
    return true;
  }
}

// Every bit of every byte of `file` flipped, and every shorter length. Returns how many were refused.
inline int refused_of_damaged(std::string_view encoding, std::vector<std::byte> file,
                              const FieldOptions& options = {.name = "field"}) {
  const auto good = decoder(std::string(encoding), file, options);
  int count = 0;
  for (auto& byte : file) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      byte ^= static_cast<std::byte>(1U << bit);
      count += refused(encoding, file, good.get(), options);
      byte ^= static_cast<std::byte>(1U << bit);
    }
  }
  for (std::size_t length = 0; length < file.size(); ++length) {
    count += refused(encoding, std::span(file).first(length), good.get(), options);
  }
  return count;
}

}  // namespace lockstep::test
