// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <sstream>

#include "config_internal.hpp"

namespace lockstep {
namespace {

void apply_table(OptionList& options, const toml::table& table, const std::string& prefix, std::string_view origin) {
  for (const auto& [key, node] : table) {
    const auto name = prefix + std::string(key.str());
    if (const auto* const inner = node.as_table()) {
      apply_table(options, *inner, name + ".", origin);
      continue;
    }
    const auto where = fmt::format("{}:{}", origin, node.source().begin.line);
    const auto* const option = options.find(name);
    // set() would take any text for a string, as the command line needs it.
    if (option != nullptr && std::holds_alternative<std::string*>(option->variable) && !node.is_string()) {
      throw wrong_type(*option, toml_text(node), where);
    }
    options.set(name, toml_text(node), where);
  }
}

// Help as comment lines.
std::string comment(std::string_view help) {
  std::string text = "# ";
  for (const char c : help) text += c == '\n' ? "\n# " : std::string(1, c);
  return text + "\n";
}

}  // namespace

std::string toml_text(const toml::node& node) {
  // toml++ writes 17 digits, 0.05 as 0.050000000000000003; fmt writes what is needed, but 1.0 as 1.
  if (const auto* const number = node.as_floating_point()) {
    const auto digits = fmt::format("{}", number->get());
    return digits.find_first_of(".en") == std::string::npos ? digits + ".0" : digits;
  }
  std::ostringstream text;
  node.visit([&text](const auto& value) { text << toml::toml_formatter(value, toml::format_flags::none); });
  return text.str();
}

void apply_toml(OptionList& options, std::string_view text, std::string_view origin) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw UsageError({.what = fmt::format("{}:{}", origin, error.source().begin.line),
                      .why = std::string(error.description()),
                      .fix = "write it as TOML: [table], then key = value"});
  }
  apply_table(options, table, "", origin);
}

std::string to_toml(const OptionList& options) {
  std::string text;
  for (const auto& table : tables_of(options)) {
    if (!text.empty()) text += "\n";
    if (!table.name.empty()) text += fmt::format("[{}]\n", table.name);
    for (const auto* option : table.options) {
      if (!option->help.empty()) text += comment(option->help);
      text += fmt::format("{} = {}\n", split_name(option->name).second, value_text(*option));
    }
  }
  return text;
}

}  // namespace lockstep
