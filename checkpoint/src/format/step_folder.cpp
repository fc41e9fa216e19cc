// SPDX-License-Identifier: Apache-2.0
#include "format/step_folder.hpp"

#include <fmt/format.h>

#include <charconv>

namespace lockstep {
namespace {

constexpr std::string_view kPrefix = "step-";

}  // namespace

std::string step_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

std::string part_name(int rank) { return fmt::format("rank-{:05}.h5", rank); }

std::optional<std::int64_t> step_of_name(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc{} || step < 0 || step_name(step) != name) return std::nullopt;
  return step;
}

bool is_unfinished_name(std::string_view name) {
  const std::size_t mark = name.find(kUnfinishedMark);
  return mark != std::string_view::npos && step_of_name(name.substr(0, mark)).has_value();
}

}  // namespace lockstep
