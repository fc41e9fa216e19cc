// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/records.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "formats/formats.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

struct Format {
  const char* name;
  bool (*is_there)(const BlobStore& store, const RecordOptions& options);
  std::unique_ptr<const RecordReader> (*open)(std::shared_ptr<const BlobStore> store, const RecordOptions& options);
};

// The files are named so, or, if none are named, the store has such a file.
bool has_files(const BlobStore& store, const RecordOptions& options, std::string_view suffix) {
  const auto names = options.files.empty() ? store.list() : options.files;
  return std::ranges::any_of(names, [&](const std::string& name) { return name.ends_with(suffix); });
}

// index.json is there, and has this key.
bool index_says(const BlobStore& store, const char* key) {
  if (!store.contains("index.json")) return false;
  const auto blob = store.open("index.json");
  const auto bytes = blob->view(0, blob->size()).bytes;
  const auto index = nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()),
                                           reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  if (index.is_discarded()) {
    throw DataError({.what = blob->name(), .why = "it is not JSON", .fix = "copy it again, or name the format"});
  }
  return index.is_object() && index.contains(key);
}

// In the order in which they are looked for: those that an index gives away first, because a store behind http(s) can
// be asked for a name but not listed.
constexpr std::array kFormats{
    Format{"files", [](const auto& store, const auto&) { return has_manifest(store); }, open_files},
    Format{"lockstep", [](const auto& store, const auto&) { return index_says(store, "schema_version"); },
           open_lockstep},
    Format{"mds", [](const auto& store, const auto&) { return index_says(store, "version"); }, open_mds},
    Format{"tar", [](const auto& store, const auto& options) { return has_files(store, options, ".tar"); }, open_tar},
    Format{"hdf5",
           [](const auto& store, const auto& options) {
             // With an index, if a damaged one: they are ours, and not to be read without its checksums.
             if (store.contains("index.json") && options.files.empty()) return false;
             return has_files(store, options, ".h5") || has_files(store, options, ".hdf5");
           },
           open_hdf5},
    Format{"tokens", [](const auto& store, const auto& options) { return has_files(store, options, ".bin"); },
           open_tokens},
    Format{"idx",
           [](const auto& store, const auto& options) {
             return has_files(store, options, "-ubyte") || has_files(store, options, "-ubyte.gz");
           },
           open_idx},
};

const Format& choose(const BlobStore& store, const RecordOptions& options) {
  const auto chosen = std::ranges::find_if(kFormats, [&](const Format& format) {
    return options.format.empty() ? format.is_there(store, options) : format.name == options.format;
  });
  if (chosen != kFormats.end()) return *chosen;
  std::vector<std::string_view> names;
  std::ranges::transform(kFormats, std::back_inserter(names), &Format::name);
  const std::string what = fmt::format("data set {}", store.location());
  const std::string formats = fmt::format("the formats are {}", fmt::join(names, ", "));
  if (options.format.empty()) {
    throw DataError({.what = what, .why = "nothing in it tells its format", .fix = "name the format; " + formats});
  }
  throw UsageError({.what = what, .why = fmt::format("there is no format \"{}\"", options.format), .fix = formats});
}

constexpr std::size_t kMostNames = 1'000'000;

// "{00000..00099}" within a pattern.
struct NumberRange {
  std::size_t begin = 0;  // of the brace
  std::size_t end = 0;    // behind the closing one
  std::size_t digits = 0;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<NumberRange> last_range(std::string_view pattern) {
  const auto begin = pattern.rfind('{');
  if (begin == std::string_view::npos) return std::nullopt;
  const auto end = pattern.find('}', begin);
  const auto inner = pattern.substr(begin + 1, end == std::string_view::npos ? end : end - begin - 1);
  const auto dots = inner.find("..");
  const auto first = number_in(inner.substr(0, dots));
  const auto last = number_in(dots == std::string_view::npos ? std::string_view() : inner.substr(dots + 2));
  if (end == std::string_view::npos || !first || !last || *last < *first) {
    throw UsageError({.what = fmt::format("data files \"{}\"", pattern),
                      .why = "the braces do not hold a range of numbers",
                      .fix = "write {00000..00099}, the first number not above the last"});
  }
  return NumberRange{begin, end + 1, dots, *first, *last};
}

}  // namespace

std::vector<std::string> expand_braces(std::string_view pattern) {
  const auto range = last_range(pattern);
  if (!range) return {std::string(pattern)};
  const auto heads = expand_braces(pattern.substr(0, range->begin));
  if (range->last - range->first >= kMostNames / heads.size()) {
    throw UsageError({.what = fmt::format("data files \"{}\"", pattern),
                      .why = fmt::format("it stands for more than {} names", kMostNames),
                      .fix = "give smaller ranges"});
  }
  std::vector<std::string> names;
  for (const auto& head : heads) {
    for (std::uint64_t i = 0; i <= range->last - range->first; ++i) {
      names.push_back(fmt::format("{}{:0{}}{}", head, range->first + i, range->digits, pattern.substr(range->end)));
    }
  }
  return names;
}

std::vector<std::string> data_files(const BlobStore& store, const RecordOptions& options, std::string_view suffix) {
  std::vector<std::string> names;
  for (const auto& pattern : options.files) {
    std::ranges::move(expand_braces(pattern), std::back_inserter(names));
  }
  if (options.files.empty()) {
    std::ranges::copy_if(store.list(), std::back_inserter(names),
                         [&](const std::string& name) { return name.ends_with(suffix); });
  }
  if (names.empty()) {
    throw DataError({.what = fmt::format("data set {}", store.location()),
                     .why = fmt::format("there is no {} file in it", suffix),
                     .fix = "give the folder of its files, or name them"});
  }
  return names;
}

std::string encoding_of(std::string_view name) {
  std::string extension(name.substr(name.find_last_of('.') + 1));
  std::ranges::transform(extension, extension.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  if (extension == "jpeg") return "jpg";
  if (extension == "jpg" || extension == "png" || extension == "npy" || extension == "json") return extension;
  return "bytes";
}

std::unique_ptr<const RecordReader> open_records(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  return choose(*store, options).open(store, options);
}

std::string format_of(const BlobStore& store, const RecordOptions& options) { return choose(store, options).name; }

}  // namespace lockstep
