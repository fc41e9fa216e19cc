// SPDX-License-Identifier: Apache-2.0
#include "store/remote/xml.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <utility>

namespace lockstep::remote {
namespace {

std::string utf8(std::uint32_t code) {
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80U | ((code >> shift) & 0x3fU)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xc0U | (code >> 6U)), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xe0U | (code >> 12U)), tail(6), tail(0)};
  return {static_cast<char>(0xf0U | (code >> 18U)), tail(12), tail(6), tail(0)};
}

// Of what stands between & and ;
std::optional<std::string> entity(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, char>, 5> kNamed{
      {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}}};
  for (const auto& [known, character] : kNamed) {
    if (name == known) return std::string(1, character);
  }
  if (!name.starts_with('#')) return std::nullopt;
  name.remove_prefix(1);
  const int base = name.starts_with('x') ? 16 : 10;
  if (base == 16) name.remove_prefix(1);
  std::uint32_t code = 0;
  const auto result = std::from_chars(name.data(), name.data() + name.size(), code, base);
  if (result.ec != std::errc() || result.ptr != name.data() + name.size() || code == 0 || code > 0x10ffff) {
    return std::nullopt;
  }
  return utf8(code);
}

std::string replaced(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto begin = text.find('&');
    const auto end = begin == text.npos ? begin : text.find(';', begin);
    out += text.substr(0, begin);
    if (end == text.npos) return out += begin == text.npos ? std::string_view() : text.substr(begin);
    const auto name = text.substr(begin + 1, end - begin - 1);
    const auto character = entity(name);
    out += character ? std::string_view(*character) : text.substr(begin, end - begin + 1);
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace

std::optional<std::string_view> xml_element(std::string_view text, std::string_view tag, std::string_view* rest) {
  const auto close = fmt::format("</{}>", tag);
  const auto open = fmt::format("<{}", tag);
  for (auto at = text.find(open); at != text.npos; at = text.find(open, at + 1)) {
    const auto after = at + open.size();
    if (after >= text.size() || (text[after] != '>' && text[after] != ' ')) continue;  // a longer name
    const auto begin = text.find('>', after);
    const auto end = begin == text.npos ? begin : text.find(close, begin);
    if (end == text.npos) return std::nullopt;
    if (rest != nullptr) *rest = text.substr(end + close.size());
    return text.substr(begin + 1, end - begin - 1);
  }
  return std::nullopt;
}

std::optional<std::string> xml_text(std::string_view text, std::string_view tag) {
  const auto element = xml_element(text, tag);
  if (!element) return std::nullopt;
  return replaced(*element);
}

}  // namespace lockstep::remote
