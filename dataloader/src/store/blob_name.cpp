// SPDX-License-Identifier: Apache-2.0
#include "store/blob_name.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

bool stays_inside(std::string_view name) {
  for (;;) {
    const auto slash = name.find('/');
    const auto part = name.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != part.npos) return false;
    if (slash == name.npos) return true;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace

void check_blob_name(std::string_view name, const std::string& store) {
  if (!stays_inside(name)) {
    throw DataError({.what = fmt::format("\"{}\" of data set {}", name, store),
                     .why = "the name leads out of the data set's folder",
                     .fix = "use names relative to the folder, without \"..\""});
  }
}

}  // namespace lockstep
