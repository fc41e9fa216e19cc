// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/error.hpp"

#include <string_view>
#include <utility>

namespace lockstep {
namespace {

void append(std::string& line, std::string_view separator, std::string_view part) {
  if (part.empty()) return;
  if (!line.empty()) line += separator;
  line += part;
}

std::string joined(const ErrorText& text) {
  std::string line;
  append(line, "", text.what);
  append(line, ": ", text.why);
  if (!text.fix.empty()) append(line, ". ", "Fix: " + text.fix);
  return text.who.empty() ? line : "[" + text.who + "] " + line;
}

}  // namespace

Error::Error(ErrorText text) : std::runtime_error(joined(text)), text_(std::move(text)) {}

}  // namespace lockstep
