// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>

#include "config_internal.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

constexpr std::string_view kUsage = "write options as key=value, for instance seed=1, and files as --config FILE";

struct Arguments {
  bool help = false;
  std::vector<std::string> files;
  std::vector<std::string> assignments;
};

Arguments split(std::vector<std::string> arguments) {
  Arguments result;
  CLI::App app;
  app.set_help_flag("");  // --help must show our options, which CLI11 does not know
  app.add_flag("-h,--help", result.help);
  app.add_option("--config", result.files)->allow_extra_args(false);
  app.add_option("assignments", result.assignments);
  try {
    std::ranges::reverse(arguments);  // CLI11 takes them from the back
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    throw UsageError({.what = "command line", .why = error.what(), .fix = std::string(kUsage)});
  }
  return result;
}

void apply_file(OptionList& options, const std::string& path) {
  std::string text;
  try {
    text = read_file(path);
  } catch (const IoError& error) {
    throw UsageError({.what = "--config " + path, .why = error.text().why, .fix = "name a TOML file that can be read"});
  }
  apply_toml(options, text, path);
}

void apply_assignment(OptionList& options, std::string_view argument) {
  const auto equals = argument.find('=');
  if (equals == std::string_view::npos) {
    throw UsageError(
        {.what = fmt::format("argument \"{}\"", argument), .why = "there is no '=' in it", .fix = std::string(kUsage)});
  }
  options.set(argument.substr(0, equals), argument.substr(equals + 1), kCommandLine);
}

}  // namespace

CommandLine parse_command_line(OptionList& options, const std::vector<std::string>& arguments) {
  const auto parts = split(arguments);
  if (parts.help) return {.help = true};
  for (const auto& file : parts.files) apply_file(options, file);
  for (const auto& assignment : parts.assignments) apply_assignment(options, assignment);
  return {};
}

std::string help_text(const OptionList& options, std::string_view program) {
  std::size_t name_width = 0;
  std::size_t default_width = 0;
  for (const auto& option : options.options()) {
    name_width = std::max(name_width, option.name.size());
    default_width = std::max(default_width, option.default_text.size());
  }
  auto text = fmt::format(
      "usage: {} [--config FILE]... [key=value]...\n\n"
      "Options with their defaults. A later key=value overrides an earlier one and every file.\n",
      program);
  for (const auto& table : tables_of(options)) {
    text += table.name.empty() ? "\n" : fmt::format("\n[{}]\n", table.name);
    for (const auto* option : table.options) {
      text += fmt::format("  {:<{}}  {:<{}}  {}\n", option->name, name_width, option->default_text, default_width,
                          option->help);
    }
  }
  return text;
}

}  // namespace lockstep
