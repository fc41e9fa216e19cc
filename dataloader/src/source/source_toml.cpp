// SPDX-License-Identifier: Apache-2.0
// What a file of [[source]] tables says.
#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {
namespace {

// One table, whose keys are asked for one by one; finish() refuses those that nobody asked for.
class Table {
 public:
  Table(const toml::table& table, std::string where, std::string name)
      : table_(table), where_(std::move(where)), name_(std::move(name)) {}

  // Sets `value` where the key is there.
  template <typename T>
  void read(const char* key, T& value) {
    const toml::node* const node = find(key);
    if (node == nullptr) return;
    const auto found = node->value<T>();  // a whole number is a number too, never the other way round
    if (!found) refuse(*node, fmt::format("{} is not {}", key, kind_of<T>()));
    value = *found;
  }

  template <typename T>
  void read(const char* key, std::optional<T>& value) {
    if (find(key) == nullptr) return;
    T found{};
    read(key, found);
    value = std::move(found);
  }

  void read(const char* key, int& value) {
    std::int64_t wide = value;
    read(key, wide);
    value = static_cast<int>(std::clamp<std::int64_t>(wide, -1, 1 << 30));
  }

  void read(const char* key, std::vector<std::string>& values) {
    for_each(key, [&](const toml::node& node) {
      const auto text = node.value<std::string>();
      if (!text) refuse(node, fmt::format("{} is not a list of texts", key));
      values.push_back(*text);
    });
  }

  // One of the names, by its place.
  void read_choice(const char* key, std::initializer_list<const char*> names, std::size_t& chosen) {
    std::string name;
    read(key, name);
    if (name.empty()) return;
    const auto* const found = std::ranges::find(names, name);
    if (found == names.end()) refuse(*find(key), fmt::format("{} is \"{}\", not one of {}", key, name, list(names)));
    chosen = static_cast<std::size_t>(found - names.begin());
  }

  template <typename Visit>
  void for_each(const char* key, const Visit& visit) {
    const toml::node* const node = find(key);
    if (node == nullptr) return;
    if (!node->is_array()) refuse(*node, fmt::format("{} is not a list", key));
    for (const auto& entry : *node->as_array()) visit(entry);
  }

  [[nodiscard]] std::optional<Table> table(const char* key) {
    const toml::node* const node = find(key);
    if (node == nullptr) return std::nullopt;
    return inner(*node, key);
  }

  [[nodiscard]] Table inner(const toml::node& node, const char* key) const {
    if (!node.is_table()) refuse(node, fmt::format("{} is not a table: {{key = value, …}}", key));
    return {*node.as_table(), where_, name_.empty() ? key : fmt::format("{}.{}", name_, key)};
  }

  [[nodiscard]] const toml::node* find(const char* key) {
    asked_.insert(key);
    return table_.get(key);
  }

  [[nodiscard]] const toml::table& all() const noexcept { return table_; }

  void finish() const {
    for (const auto& [key, node] : table_) {
      if (asked_.contains(std::string(key.str()))) continue;
      const std::vector<std::string> known(asked_.begin(), asked_.end());
      const auto nearest = nearest_name(key.str(), known);
      refuse(node, fmt::format("there is no {}{}{}", name_, name_.empty() ? "" : ".", key.str()),
             nearest.empty() ? "see docs/data.md for all keys" : fmt::format("did you mean {}?", nearest));
    }
  }

  [[noreturn]] void refuse(const toml::node& node, std::string why, std::string fix = "see docs/data.md") const {
    throw UsageError(
        {.what = fmt::format("{}:{}", where_, node.source().begin.line), .why = std::move(why), .fix = std::move(fix)});
  }

 private:
  template <typename T>
  static const char* kind_of() {
    if constexpr (std::is_same_v<T, std::string>) return "a text";
    if constexpr (std::is_same_v<T, bool>) return "true or false";
    if constexpr (std::is_same_v<T, std::int64_t>) return "a whole number";
    return "a number";
  }

  static std::string list(std::initializer_list<const char*> names) {
    std::string text;
    for (const char* name : names) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
    return text;
  }

  const toml::table& table_;
  const std::string where_;  // the file
  const std::string name_;   // "source.select"
  std::set<std::string> asked_;
};

ValueAt value_at(Table& table) {
  ValueAt at;
  table.read("field", at.field);
  table.read("pointer", at.pointer);
  return at;
}

std::optional<ValueAt> value_at(std::optional<Table> table) {
  if (!table) return std::nullopt;
  ValueAt at = value_at(*table);
  table->finish();
  return at;
}

// Numbers and truth values as JSON writes them, so that they compare with what the samples hold.
std::string text_of(const Table& table, const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto whole = node.value_exact<std::int64_t>()) return fmt::format("{}", *whole);
  if (const auto truth = node.value_exact<bool>()) return *truth ? "true" : "false";
  table.refuse(node, "any_of lists texts, whole numbers, true and false; numbers go by least and most");
}

Condition condition_from(Table table) {
  Condition condition{.at = value_at(table)};
  table.read("least", condition.least);
  table.read("most", condition.most);
  table.for_each("any_of", [&](const toml::node& node) { condition.any_of.push_back(text_of(table, node)); });
  table.finish();
  return condition;
}

Selection selection_from(Table table) {
  Selection select;
  table.for_each("where",
                 [&](const toml::node& node) { select.where.push_back(condition_from(table.inner(node, "where"))); });
  table.read("every_nth", select.every_nth);
  table.read("cap", select.cap);
  select.balance = value_at(table.table("balance"));
  table.finish();
  return select;
}

Windows windows_from(Table table) {
  Windows windows;
  table.read("length", windows.length);
  table.read("step", windows.step);
  table.read("stride", windows.stride);
  windows.log = value_at(table.table("log"));
  table.finish();
  return windows;
}

FieldOptions field_from(Table table) {
  FieldOptions field;
  table.read("name", field.name);
  table.read("from", field.from);
  std::string dtype;
  table.read("dtype", dtype);
  if (!dtype.empty()) field.dtype = dtype_from_name(dtype);
  table.read("scale", field.scale);
  table.read("offset", field.offset);
  table.read("ragged", field.ragged);
  table.read("shrink", field.shrink);
  table.read("channels", field.channels);
  table.read("channels_first", field.channels_first);
  table.read("pointer", field.pointer);
  if (auto region = table.table("region")) {
    field.region.emplace();
    region->read("top", field.region->top);
    region->read("left", field.region->left);
    region->read("height", field.region->height);
    region->read("width", field.region->width);
    region->finish();
  }
  table.finish();
  return field;
}

// Any key: the transform itself knows which it has.
TransformChoice transform_from(Table table) {
  TransformChoice choice;
  table.read("name", choice.name);
  for (const auto& [key, node] : table.all()) {
    if (key.str() == "name") continue;
    TransformOptions::Option option{.name = std::string(key.str())};
    const auto add = [&](const toml::node& value) {
      if (const auto number = value.value<double>(); number && !value.is_string()) {
        option.numbers.push_back(*number);
      } else if (const auto text = value.value_exact<std::string>()) {
        option.words.push_back(*text);
      } else {
        table.refuse(value, fmt::format("{} is neither a number, a text nor a list of these", key.str()));
      }
    };
    if (const auto* const values = node.as_array()) {
      for (const auto& value : *values) add(value);
    } else {
      add(node);
    }
    choice.options.push_back(std::move(option));
  }
  return choice;
}

// "16GiB": what people write; toml knows no units.
std::uint64_t bytes_from(Table& table, const char* key, std::uint64_t otherwise) {
  std::string text;
  table.read(key, text);
  if (text.empty()) return otherwise;
  const std::pair<const char*, int> units[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  for (const auto& [unit, shift] : units) {
    if (!text.ends_with(unit)) continue;
    const std::string digits = text.substr(0, text.size() - 3);
    if (!digits.empty() && digits.size() < 7 &&
        std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) {
      return std::stoull(digits) << static_cast<unsigned>(shift);
    }
  }
  table.refuse(*table.find(key), fmt::format("{} is \"{}\", not a size", key, text), "write \"512MiB\" or \"16GiB\"");
}

RemoteOptions remote_from(Table table) {
  RemoteOptions remote;
  table.read("folder", remote.cache_folder);
  remote.cache_bytes = bytes_from(table, "bytes", remote.cache_bytes);
  double seconds = std::chrono::duration<double>(remote.timeout).count();
  table.read("timeout_seconds", seconds);
  remote.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  table.read("attempts", remote.attempts);
  table.finish();
  return remote;
}

SourceOptions source_from(Table table, const std::filesystem::path& folder, const RemoteOptions& remote) {
  SourceOptions source{.remote = remote};
  table.read("name", source.name);
  table.read("path", source.path);
  if (source.path.find("://") == std::string::npos) source.path = (folder / source.path).string();
  table.read("format", source.records.format);
  table.read("files", source.records.files);
  table.read("tokens_per_sample", source.records.tokens_per_sample);
  table.read("token_bytes", source.records.token_bytes);
  table.read("weight", source.weight);
  table.for_each("fields",
                 [&](const toml::node& node) { source.fields.push_back(field_from(table.inner(node, "fields"))); });
  table.for_each("transforms", [&](const toml::node& node) {
    source.transforms.push_back(transform_from(table.inner(node, "transforms")));
  });
  if (auto select = table.table("select")) source.select = selection_from(std::move(*select));
  if (auto windows = table.table("windows")) source.windows = windows_from(std::move(*windows));
  std::size_t shuffle = 0;
  table.read_choice("shuffle", {"samples", "shards", "none"}, shuffle);
  source.shuffle = static_cast<Shuffle>(shuffle);
  table.read("shuffle_window", source.shuffle_window);
  table.finish();
  return source;
}

}  // namespace

std::vector<SourceOptions> read_sources(const std::filesystem::path& file) {
  toml::table document;
  try {
    document = toml::parse(read_file(file));
  } catch (const toml::parse_error& error) {
    throw UsageError({.what = fmt::format("{}:{}", file.string(), error.source().begin.line),
                      .why = std::string(error.description()),
                      .fix = "write it as TOML: [[source]], then key = value"});
  }
  Table table(document, file.string(), "");
  RemoteOptions remote;
  if (auto cache = table.table("cache")) remote = remote_from(std::move(*cache));
  std::vector<SourceOptions> sources;
  table.for_each("source", [&](const toml::node& node) {
    sources.push_back(source_from(table.inner(node, "source"), file.parent_path(), remote));
  });
  table.finish();
  if (sources.empty()) {
    throw UsageError(
        {.what = file.string(), .why = "it has no [[source]]", .fix = "add one with name, path and fields"});
  }
  return sources;
}

}  // namespace lockstep
