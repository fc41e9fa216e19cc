// SPDX-License-Identifier: Apache-2.0
#include "formats/mds_columns.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace lockstep {
namespace {

constexpr std::array kElements{
    MdsElement{"uint8", "|u1", 8, 1, DType::uint8},      MdsElement{"int8", "|i1", 9, 1, DType::int8},
    MdsElement{"uint16", "<u2", 16, 2, std::nullopt},    MdsElement{"int16", "<i2", 17, 2, DType::int16},
    MdsElement{"float16", "<f2", 18, 2, DType::float16}, MdsElement{"uint32", "<u4", 32, 4, std::nullopt},
    MdsElement{"int32", "<i4", 33, 4, DType::int32},     MdsElement{"float32", "<f4", 34, 4, DType::float32},
    MdsElement{"uint64", "<u8", 64, 8, std::nullopt},    MdsElement{"int64", "<i8", 65, 8, DType::int64},
    MdsElement{"float64", "<f8", 66, 8, DType::float64},
};

constexpr std::size_t kMostDimensions = 63;  // 6 bits in front of an array

const MdsElement* element_named(std::string_view name) noexcept {
  const auto found = std::ranges::find(kElements, name, &MdsElement::name);
  return found == kElements.end() ? nullptr : &*found;
}

// Nothing where a size is below 1 or the product overflows.
std::optional<std::uint64_t> bytes_of(const MdsElement& element, std::span<const std::int64_t> shape) noexcept {
  std::uint64_t bytes = element.bytes;
  for (const auto size : shape) {
    if (size < 1 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) return std::nullopt;
  }
  return bytes;
}

std::optional<std::vector<std::int64_t>> parse_shape(std::string_view text) {
  std::vector<std::int64_t> shape;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;; ++at) {
    const auto [next, error] = std::from_chars(at, end, shape.emplace_back());
    if (error != std::errc{} || shape.back() < 1 || shape.size() > kMostDimensions) return std::nullopt;
    if (next == end) return shape;
    if (*next != ',') return std::nullopt;
    at = next;
  }
}

// "", "uint8" or "uint8:28,28", what follows "ndarray:".
std::optional<MdsForm> array_form(std::string_view text) {
  const auto colon = text.find(':');
  MdsForm form{.encoding = "npy", .element = element_named(text.substr(0, colon))};
  if (form.element == nullptr && !text.empty()) return std::nullopt;
  if (colon != std::string_view::npos) {
    form.shape = parse_shape(text.substr(colon + 1));
    if (!form.shape) return std::nullopt;
  }
  return form;
}

std::optional<MdsForm> parse_form(std::string_view encoding) {
  constexpr std::string_view kArray = "ndarray";
  for (const auto name : {"bytes", "json", "png"}) {
    if (encoding == name) return MdsForm{.encoding = name};
  }
  if (encoding == "str") return MdsForm{.encoding = "bytes"};
  if (encoding == "jpeg") return MdsForm{.encoding = "jpg"};
  if (encoding == kArray) return array_form({});
  if (encoding.starts_with(kArray) && encoding[kArray.size()] == ':') return array_form(encoding.substr(8));
  const auto* const element = element_named(encoding == "int" ? "int64" : encoding);
  if (element == nullptr) return std::nullopt;
  return MdsForm{.encoding = "npy", .element = element, .shape = std::vector<std::int64_t>{}};
}

// Takes unsigned little-endian numbers off the front of bytes.
class Front {
 public:
  explicit Front(std::span<const std::byte> bytes) noexcept : left_(bytes) {}
  [[nodiscard]] std::optional<std::uint64_t> take(std::size_t bytes) noexcept {
    if (left_.size() < bytes) return std::nullopt;
    std::uint64_t number = 0;
    std::memcpy(&number, left_.data(), bytes);
    left_ = left_.subspan(bytes);
    return number;
  }
  [[nodiscard]] std::span<const std::byte> left() const noexcept { return left_; }

 private:
  std::span<const std::byte> left_;
};

std::optional<std::vector<std::int64_t>> take_shape(Front& front) {
  const auto head = front.take(1);  // dimensions and, in its low 2 bits, the width of each
  if (!head) return std::nullopt;
  std::vector<std::int64_t> shape(*head >> 2U);
  for (auto& size : shape) {
    const auto taken = front.take(std::size_t{1} << (*head & 3U));
    if (!taken) return std::nullopt;
    size = static_cast<std::int64_t>(*taken);
  }
  return shape;
}

void append(std::vector<std::byte>& buffer, std::span<const std::byte> bytes) {
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
}

// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0
void append_npy_header(const MdsElement& element, std::span<const std::int64_t> shape, std::vector<std::byte>& buffer) {
  constexpr std::size_t kAlignment = 64;
  std::string header =
      fmt::format("\x93NUMPY\x01{0}{0}{0}{{'descr': '{1}', 'fortran_order': False, 'shape': ({2}{3}), }}", '\0',
                  element.npy_descr, fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  header.append(kAlignment - 1 - header.size() % kAlignment, ' ');
  header += '\n';
  constexpr std::size_t kPrefix = 10;                                       // magic, version, length of what follows
  const auto length = static_cast<std::uint16_t>(header.size() - kPrefix);  // 63 sizes of 20 digits at most
  std::memcpy(header.data() + kPrefix - sizeof length, &length, sizeof length);
  append(buffer, std::as_bytes(std::span(header)));
}

}  // namespace

MdsForm form_of(const std::string& what, const MdsColumn& column) {
  const auto fail = [&](std::string why) {
    throw DataError({.what = fmt::format("column \"{}\" of {}", column.name, what),
                     .why = std::move(why),
                     .fix = "leave it out by naming the fields to read, or write it in another encoding"});
  };
  auto form = parse_form(column.encoding);
  if (!form) fail(fmt::format("lockstep does not read its encoding \"{}\"", column.encoding));
  const bool fixed = form->element != nullptr && form->shape;
  const auto bytes = fixed ? bytes_of(*form->element, *form->shape) : 0;
  if (bytes != column.size) {
    fail(fmt::format("it says {} bytes a value, which \"{}\" cannot have", column.size, column.encoding));
  }
  if (fixed && form->element->dtype) form->encoding = "raw";
  return *std::move(form);
}

std::string append_npy(const MdsForm& form, std::span<const std::byte> value, std::vector<std::byte>& buffer) {
  Front front(value);
  const auto* element = form.element;
  if (element == nullptr) {
    const auto code = front.take(1);
    const auto found = std::ranges::find_if(kElements, [&](const MdsElement& known) { return known.code == code; });
    if (found == kElements.end()) return "its element type is unknown";
    element = &*found;
  }
  const auto shape = form.shape ? form.shape : take_shape(front);
  if (!shape) return "it ends within its shape";
  const auto bytes = bytes_of(*element, *shape);
  if (bytes != front.left().size()) {
    return fmt::format("its shape [{}] × {} does not fit {} bytes", fmt::join(*shape, ", "), element->name,
                       front.left().size());
  }
  append_npy_header(*element, *shape, buffer);
  append(buffer, front.left());
  return {};
}

}  // namespace lockstep
