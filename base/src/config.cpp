// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "config_internal.hpp"

namespace lockstep {
namespace {

// What "value = <text>" assigns; empty if that is not one assignment. Only a quoted string may hold a '#'.
toml::table parse_value(std::string_view text) {
  const bool quoted = text.starts_with('"') || text.starts_with('\'');
  if (text.find_first_of(quoted ? "\n" : "\n#") != std::string_view::npos) return {};
  try {
    return toml::parse(fmt::format("value = {}", text));
  } catch (const toml::parse_error&) {
    return {};
  }
}

// Each returns whether `text` is of the variable's type. A string may also stand without quotes.
bool assign(bool& variable, std::string_view text) {
  const auto value = parse_value(text)["value"].value_exact<bool>();
  if (value) variable = *value;
  return value.has_value();
}

template <std::signed_integral Integer>
bool assign(Integer& variable, std::string_view text) {
  const auto value = parse_value(text)["value"].value_exact<std::int64_t>();
  if (!value || !std::in_range<Integer>(*value)) return false;
  variable = static_cast<Integer>(*value);
  return true;
}

bool assign(double& variable, std::string_view text) {
  const auto table = parse_value(text);
  if (!table["value"].is_number()) return false;
  variable = *table["value"].value<double>();
  return true;
}

bool assign(std::string& variable, std::string_view text) {
  variable = parse_value(text)["value"].value_exact<std::string>().value_or(std::string(text));
  return true;
}

struct ExpectedType {
  std::string_view operator()(const bool*) const { return "true or false"; }
  std::string_view operator()(const int*) const { return "a whole number of 32 bits"; }
  std::string_view operator()(const std::int64_t*) const { return "a whole number"; }
  std::string_view operator()(const double*) const { return "a number"; }
  std::string_view operator()(const std::string*) const { return "a string"; }
};

// Where an assignment stands, for messages: "train.toml:12", or the argument itself.
std::string place(std::string_view name, std::string_view text, std::string_view origin) {
  return origin == kCommandLine ? fmt::format("argument \"{}={}\"", name, text) : std::string(origin);
}

UsageError unknown_option(const OptionList& options, std::string_view name, const std::string& where) {
  std::vector<std::string> names;
  for (const auto& option : options.options()) names.push_back(option.name);
  const auto nearest = nearest_name(name, names);
  return UsageError({.what = where,
                     .why = fmt::format("there is no option {}", name),
                     .fix = nearest.empty() ? "see --help for all options" : fmt::format("did you mean {}?", nearest)});
}

bool is_dotted_lower_case(std::string_view name) {
  bool starts_word = true;
  for (const char c : name) {
    const bool letter = c >= 'a' && c <= 'z';
    const bool inside = letter || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (starts_word ? !letter : !inside) return false;
    starts_word = c == '.';
  }
  return !starts_word;
}

// "train" and "train.lr" cannot both be keys of one TOML file.
bool is_table_of(std::string_view table, std::string_view name) {
  return name.size() > table.size() && name.starts_with(table) && name[table.size()] == '.';
}

}  // namespace

const OptionList::Option* OptionList::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(options_, name, &Option::name);
  return found == options_.end() ? nullptr : &*found;
}

void OptionList::add_option(std::string_view name, Variable variable, std::string_view help, AtResume at_resume) {
  const auto fail = [name](std::string why, std::string fix) {
    throw UsageError({.what = fmt::format("option {}", name), .why = std::move(why), .fix = std::move(fix)});
  };
  if (!is_dotted_lower_case(name)) fail("not a dotted lower-case name", "name it like train.lr");
  for (const auto& option : options_) {
    if (option.name == name) fail("declared twice", "give one of them another name");
    if (is_table_of(option.name, name) || is_table_of(name, option.name)) {
      fail(fmt::format("cannot stand beside {}: one of them would be a table and a value", option.name),
           "give one of them another name");
    }
  }
  options_.push_back({.name = std::string(name),
                      .variable = variable,
                      .default_text = {},
                      .help = std::string(help),
                      .at_resume = at_resume});
  options_.back().default_text = value_text(options_.back());
}

void OptionList::set(std::string_view name, std::string_view text, std::string_view origin) {
  const auto option = std::ranges::find(options_, name, &Option::name);
  if (option == options_.end()) throw unknown_option(*this, name, place(name, text, origin));
  const bool assigned = std::visit([text](auto* variable) { return assign(*variable, text); }, option->variable);
  if (!assigned) throw wrong_type(*option, text, origin);
  option->origin = origin;
}

UsageError wrong_type(const OptionList::Option& option, std::string_view text, std::string_view origin) {
  return UsageError(
      {.what = place(option.name, text, origin),
       .why = fmt::format("{} takes {}, not {}", option.name, std::visit(ExpectedType{}, option.variable), text),
       .fix = fmt::format("give a value such as the default, {}", option.default_text)});
}

std::string value_text(const OptionList::Option& option) {
  return std::visit([](const auto* variable) { return toml_text(toml::value(*variable)); }, option.variable);
}

std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

std::vector<OptionTable> tables_of(const OptionList& options) {
  std::vector<OptionTable> tables{{.name = "", .options = {}}};
  for (const auto& option : options.options()) {
    const auto name = split_name(option.name).first;
    auto table = std::ranges::find(tables, name, &OptionTable::name);
    if (table == tables.end()) table = tables.insert(table, {.name = name, .options = {}});
    table->options.push_back(&option);
  }
  if (tables.front().options.empty()) tables.erase(tables.begin());
  return tables;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  // Levenshtein's distance, row by row.
  const auto distance_to = [name](std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < name.size(); ++i) {
      auto diagonal = std::exchange(row[0], i + 1);
      for (std::size_t j = 0; j < other.size(); ++j) {
        const auto replaced = diagonal + (name[i] == other[j] ? 0 : 1);
        diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
      }
    }
    return row.back();
  };
  const auto nearest = std::ranges::min_element(candidates, {}, distance_to);
  if (nearest == candidates.end()) return {};
  const auto near = std::max<std::size_t>(1, std::max(name.size(), nearest->size()) / 3);
  return distance_to(*nearest) <= near ? *nearest : std::string();
}

}  // namespace lockstep
