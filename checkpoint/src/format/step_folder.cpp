// SPDX-License-Identifier: Apache-2.0
#include "format/step_folder.hpp"

#include <fmt/format.h>

#include <charconv>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::string_view kPrefix = "step-";

}  // namespace

std::string step_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

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

Checkpoint open_step(const std::filesystem::path& folder, std::int64_t step) {
  const std::filesystem::path path = folder / step_name(step);
  Checkpoint checkpoint = Checkpoint::open(path);
  if (checkpoint.step() != step) {
    throw CheckpointError({.what = fmt::format("open checkpoint {}", path.string()),
                           .why = fmt::format("its manifest says step {}", checkpoint.step()),
                           .fix = fmt::format("rename it to {}", step_name(checkpoint.step()))});
  }
  return checkpoint;
}

}  // namespace lockstep
