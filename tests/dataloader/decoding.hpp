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

// Every bit of every byte of `file` flipped, and every shorter length: each is decoded to anything or refused with a
// DataError; nothing else may happen. Returns how many were refused.
inline int refused_of_damaged(std::string_view encoding, std::vector<std::byte> file,
                              const FieldOptions& options = {.name = "field"}) {
  const auto good = decoder(std::string(encoding), file, options);
  int refused = 0;
  const auto attempt = [&](std::span<const std::byte> bytes) {
    const std::vector<std::byte> exact(bytes.begin(), bytes.end());  // so that reading past the end is seen
    try {
      (void)decoded<std::byte>(*good, exact);
      (void)decoded<std::byte>(*decoder(std::string(encoding), exact, options), exact);
    } catch (const DataError&) {
      ++refused;
    }
  };
  for (auto& byte : file) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      byte ^= static_cast<std::byte>(1U << bit);
      attempt(file);
      byte ^= static_cast<std::byte>(1U << bit);
    }
  }
  for (std::size_t length = 0; length < file.size(); ++length) attempt(std::span(file).first(length));
  return refused;
}

}  // namespace lockstep::test
