// SPDX-License-Identifier: Apache-2.0
#include "input.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep::tool {

Input open_input(const DataArguments& arguments) {
  auto options = arguments.options;
  std::string location = arguments.location;
  if (const std::filesystem::path path(location); std::filesystem::is_regular_file(path)) {
    options.files = {path.filename().string()};
    location = path.has_parent_path() ? path.parent_path().string() : ".";
  }
  auto store = open_store(location);
  auto format = format_of(*store, options);
  auto reader = open_records(store, options);
  if (reader->samples() == 0) {
    throw DataError({.what = fmt::format("data set {}", arguments.location),
                     .why = "it has no samples",
                     .fix = "check that its files were written to the end"});
  }
  return {std::move(store), std::move(options), std::move(format), std::move(reader)};
}

TerminalProgress::TerminalProgress(const char* task) : task_(task) {
  if (::isatty(STDERR_FILENO) != 0) bar_.emplace(true);
}

void TerminalProgress::update(std::int64_t done, std::int64_t samples) {
  if (bar_) bar_->update({.task = task_, .step = done, .total_steps = samples, .loss = std::nan("")});
}

}  // namespace lockstep::tool
