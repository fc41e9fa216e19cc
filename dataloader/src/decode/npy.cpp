// SPDX-License-Identifier: Apache-2.0
#include "decode/npy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include "decode/decode_detail.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kMostDimensions = 64;  // NumPy's own limit

// What NumPy calls elements in a header (its "typestr", little-endian), and their name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kElements{{
    {"<f8", "float64"},
    {"<f4", "float32"},
    {"<f2", "float16"},
    {"<i8", "int64"},
    {"<i4", "int32"},
    {"<i2", "int16"},
    {"|i1", "int8"},
    {"|u1", "uint8"},
    {"<u2", "uint16"},
    {"<u4", "uint32"},
    {"|b1", "bool"},
    {"<u1", "uint8"},
}};

std::size_t bytes_of(std::string_view typestr) noexcept { return static_cast<std::size_t>(typestr[2] - '0'); }

// The header is a Python dictionary of three entries. NumPy writes it in one way, so that little of Python is needed:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class Header {
 public:
  explicit Header(std::string_view text) : rest_(text) {}

  // Empty, or what is wrong.
  std::string parse() {
    if (!take('{')) return kNotADictionary;
    for (int entry = 0; entry < 3; ++entry) {
      std::string_view key;
      if (!quoted(key) || !take(':') || !value_of(key)) return kNotADictionary;
      if (!take(',')) break;
    }
    if (!take('}') || !(skip_space(), rest_.empty()) || seen_ != 7) return kNotADictionary;
    return {};
  }

  std::string_view descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;

 private:
  static constexpr const char* kNotADictionary = "its header is not a dictionary of descr, fortran_order and shape";

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }

  bool take(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool take(char character) { return take(std::string_view(&character, 1)); }

  bool quoted(std::string_view& text) {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"' && !take('"')) return false;
    const auto end = rest_.find(quote);
    if (end == std::string_view::npos) return false;
    text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }

  bool value_of(std::string_view key) {
    if (key == "descr") {
      seen_ |= 1U;
      if (quoted(descr)) return true;
      descr = "a structure";  // of several elements: a list follows
      return false;
    }
    if (key == "fortran_order") {
      seen_ |= 2U;
      fortran_order = take("True");
      return fortran_order || take("False");
    }
    seen_ |= 4U;
    return key == "shape" && tuple();
  }

  bool tuple() {
    shape.clear();
    if (!take('(')) return false;
    while (!take(')')) {
      skip_space();
      std::int64_t length = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), length);
      if (error != std::errc{} || length < 0 || shape.size() == kMostDimensions) return false;
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      shape.push_back(length);
      if (!take(',')) return take(')');
    }
    return true;
  }

  std::string_view rest_;
  unsigned seen_ = 0;
};

// Cuts the header's text and the payload out of the file. Empty, or what is wrong.
std::string split(Bytes file, std::string_view& header, Bytes& payload) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!text.starts_with(kMagic)) return "it is not a .npy file";
  if (text.size() < 12) return "it ends within its header";
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(std::to_integer<unsigned>(file[at])); };
  const auto version = byte(6);
  if (version < 1 || version > 3) return fmt::format("it has version {} of the format, not 1, 2 or 3", version);
  const std::size_t start = version == 1 ? 10 : 12;
  const std::size_t length = byte(8) | byte(9) << 8U | (version == 1 ? 0 : byte(10) << 16U | byte(11) << 24U);
  if (length > file.size() - start) return "it ends within its header";
  header = text.substr(start, length);
  payload = file.subspan(start + length);
  return {};
}

}  // namespace

std::string parse_npy(Bytes file, NpyArray& array) {
  std::string_view text;
  if (auto problem = split(file, text, array.payload); !problem.empty()) return problem;
  Header header(text);
  if (auto problem = header.parse(); !problem.empty()) return problem;
  const auto* const found = std::ranges::find(kElements, header.descr, &decltype(kElements)::value_type::first);
  if (found == kElements.end()) {
    return fmt::format("its elements are \"{}\": neither little-endian numbers nor booleans", header.descr);
  }
  if (header.fortran_order) return "its elements are in Fortran's order";
  array.elements = found->second;
  array.shape = std::move(header.shape);
  const auto elements = elements_of(array.shape);
  if (!elements || *elements * bytes_of(found->first) != array.payload.size()) {
    return fmt::format("{} {} elements do not fill {} bytes", text_of(array.shape), array.elements,
                       array.payload.size());
  }
  return {};
}

}  // namespace lockstep
