// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lockstep {

// Whether a run may go on from a checkpoint that was written with another value of an option.
enum class AtResume { must_equal, may_change };

// The options of a program: dotted name, type, default, help. Declared once, before the command line is parsed, so that
// an unknown key can be refused. Each variable must outlive the list.
class OptionList {
 public:
  using Variable = std::variant<bool*, int*, std::int64_t*, double*, std::string*>;

  struct Option {
    std::string name;
    Variable variable;
    std::string default_text;  // as written in TOML
    std::string help;
    AtResume at_resume;
    std::string origin = "default";  // "default", "command line", "train.toml:12"
  };

  // Declares `name`, whose default is the variable's value now. Throws UsageError if the name is taken or is not
  // dotted lower case.
  template <class T>
  void add(std::string_view name, T& variable, std::string_view help, AtResume at_resume = AtResume::must_equal) {
    add_option(name, &variable, help, at_resume);
  }

  [[nodiscard]] const std::vector<Option>& options() const noexcept { return options_; }
  [[nodiscard]] const Option* find(std::string_view name) const noexcept;

  // Sets one option from text such as "0.1", "true" or "runs/a" (strings need no quotes). `origin` is where it stands.
  // Throws UsageError: unknown name (with the nearest one), or a value that is not of the option's type.
  void set(std::string_view name, std::string_view text, std::string_view origin);

 private:
  void add_option(std::string_view name, Variable variable, std::string_view help, AtResume at_resume);
  std::vector<Option> options_;
};

struct CommandLine {
  bool help = false;  // --help was given: print help_text() and leave with 0
};

// Reads `--config FILE` (TOML, tables become dotted names), then `key=value` arguments, whatever their order on the
// line; of two equal keys the later wins. `arguments` is argv without the program's name. Throws UsageError naming
// file:line or the argument.
CommandLine parse_command_line(OptionList& options, const std::vector<std::string>& arguments);

// Sets the options that TOML `text` names; `origin` is the file's name for messages. Throws UsageError.
void apply_toml(OptionList& options, std::string_view text, std::string_view origin);

// All options with their present values as TOML that apply_toml reads back.
[[nodiscard]] std::string to_toml(const OptionList& options);

// The value of one option as written in TOML: 0.05, true, "runs/a".
[[nodiscard]] std::string value_text(const OptionList::Option& option);

[[nodiscard]] std::string help_text(const OptionList& options, std::string_view program);

// Of `candidates`, the one with the smallest edit distance to `name`; empty if none is near.
[[nodiscard]] std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace lockstep
