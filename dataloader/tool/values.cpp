// SPDX-License-Identifier: Apache-2.0
#include "values.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <numeric>
#include <string_view>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/decode.hpp"

namespace lockstep::tool {
namespace {

constexpr std::size_t kShownElements = 6;
constexpr std::size_t kShownCharacters = 60;

template <typename T>
std::string element_text(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return fmt::format("{:.6}", fmt::to_string(value));
}

std::string element_text(DType dtype, const std::byte* at) {
  switch (dtype) {
    case DType::float64:
      return element_text<double>(at);
    case DType::float32:
      return element_text<float>(at);
    case DType::int64:
      return element_text<std::int64_t>(at);
    case DType::int32:
      return element_text<std::int32_t>(at);
    case DType::int16:
      return element_text<std::int16_t>(at);
    case DType::int8:
      return fmt::to_string(std::to_integer<int>(*at) - (std::to_integer<int>(*at) > 127 ? 256 : 0));
    case DType::uint8:
    case DType::boolean:
      return fmt::to_string(std::to_integer<int>(*at));
    case DType::float16:
    case DType::bfloat16:
      return fmt::format("0x{:02x}{:02x}", std::to_integer<int>(at[1]), std::to_integer<int>(at[0]));
  }
  return {};
}

std::string elements_text(DType dtype, std::span<const std::byte> bytes) {
  const auto size = size_of(dtype);
  const auto elements = bytes.size() / size;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < std::min(elements, kShownElements); ++i) {
    texts.push_back(element_text(dtype, bytes.data() + i * size));
  }
  return fmt::format("{}{}", fmt::join(texts, " "), elements > kShownElements ? " …" : "");
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Text as it is, without line breaks; what is no text as hexadecimal digits.
std::string shortened(std::string_view text) {
  const auto shown = text.substr(0, kShownCharacters);
  const bool is_text =
      std::ranges::all_of(shown, [](char c) { return c == '\n' || c == '\t' || (c >= ' ' && c <= '~'); });
  std::string found;
  for (const char c : is_text ? shown : shown.substr(0, kShownElements)) {
    found += is_text ? std::string(1, c >= ' ' ? c : ' ') : fmt::format("{:02x} ", static_cast<unsigned char>(c));
  }
  if (text.size() > kShownCharacters || !is_text) found += "…";
  return found;
}

ShownField show_decoded(const StoredField& field, std::span<const std::byte> stored) {
  const FieldOptions options{.name = field.name, .ragged = !field.shape.empty() && field.shape.front() < 0};
  const auto decoder = make_decoder(field, options, stored);
  const auto& info = decoder->delivered();
  std::vector<std::int64_t> shape = info.shape;
  std::size_t bytes = info.row_bytes();
  if (info.ragged()) {
    shape.front() = decoder->rows(stored);
    bytes *= static_cast<std::size_t>(shape.front());
  }
  std::vector<std::byte> place(bytes);
  decoder->decode(stored, place);
  return {std::string(name_of(info.dtype)), shape, elements_text(info.dtype, place)};
}

}  // namespace

ShownField show(const StoredField& field, std::span<const std::byte> stored) {
  if (stored.data() == nullptr) return {"", {}, "–"};
  if (field.encoding == "bytes" || field.encoding == "json") {
    return {"uint8", {static_cast<std::int64_t>(stored.size())}, shortened(text_of(stored))};
  }
  try {
    return show_decoded(field, stored);
  } catch (const Error& error) {
    return {"", {}, error.text().why};
  }
}

std::optional<std::int64_t> whole_number(const StoredField& field, std::span<const std::byte> stored) {
  std::string text;
  if (field.encoding == "bytes") {
    text = text_of(stored.first(std::min<std::size_t>(stored.size(), 24)));
    text.erase(text.find_last_not_of(" \r\n") + 1);
  } else if (field.encoding == "raw" || field.encoding == "npy") {
    const auto shown = show(field, stored);
    const auto elements = std::accumulate(shown.shape.begin(), shown.shape.end(), std::int64_t{1}, std::multiplies<>());
    if (elements == 1 && !shown.dtype.empty() && shown.dtype.find('f') == std::string::npos) text = shown.value;
  }
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace lockstep::tool
