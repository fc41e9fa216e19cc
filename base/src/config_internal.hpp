// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <toml++/toml.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"

// What the files of config share.
namespace lockstep {

inline constexpr std::string_view kCommandLine = "command line";  // the origin of `key=value` arguments

[[nodiscard]] std::string toml_text(const toml::node& node);  // in one line; strings as "…" with escapes

[[nodiscard]] UsageError wrong_type(const OptionList::Option& option, std::string_view text, std::string_view origin);

// The table ("train", or "" at the top) and the key ("lr") of an option's name.
[[nodiscard]] std::pair<std::string_view, std::string_view> split_name(std::string_view name);

struct OptionTable {
  std::string_view name;
  std::vector<const OptionList::Option*> options;
};

// The options by table, in order of declaration; those without a table come first, as TOML asks.
[[nodiscard]] std::vector<OptionTable> tables_of(const OptionList& options);

}  // namespace lockstep
