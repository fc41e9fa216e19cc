// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "lockstep/dataloader/decode.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/dataloader/source.hpp"
#include "lockstep/dataloader/transform.hpp"

namespace lockstep {

// A value that every sample has, in a stored field of JSON, of text that is JSON ("7"), or of raw single numbers.
struct ValueAt {
  std::string field;      // the stored field's name: "meta.json", "cls"
  std::string pointer{};  // RFC 6901: "/ego/speed"; empty: the whole field
};

// Samples whose value lies in a range or is one of a list.
struct Condition {
  ValueAt at;
  std::optional<double> least{};
  std::optional<double> most{};
  std::vector<std::string> any_of{};  // a number or truth value as JSON writes it
};

// Which samples of a source are used.
struct Selection {
  std::vector<Condition> where{};     // all of them hold; a time window is one of these
  std::int64_t every_nth = 1;         // of those that are left: the first, the n-th behind it …
  std::optional<std::int64_t> cap{};  // of those that are left: at most so many, chosen at random, always the same
  std::optional<ValueAt> balance{};   // classes by this value take turns
};

// Windows over the frames of a log: sample i of a log has the frames i·stride, i·stride + step … A field of shape […]
// is delivered as [length, …]; a ragged one as the rows of all frames, with `<name>_rows`, int64 [length], beside it.
// What a transform draws holds for all frames of a window.
struct Windows {
  std::int64_t length = 1;       // frames
  std::int64_t step = 1;         // frames from one to the next
  std::int64_t stride = 1;       // frames from one window to the next
  std::optional<ValueAt> log{};  // a log ends where this value changes; none: where a shard does
};

enum class Shuffle : std::uint8_t { samples, shards, none };

struct TransformChoice {
  std::string name{};
  std::vector<TransformOptions::Option> options{};
};

// A source as a file describes it (docs/data.md).
struct SourceOptions {
  std::string name{};
  std::string path{};  // a folder or URL
  RecordOptions records{};
  std::vector<FieldOptions> fields{};  // empty: all stored ones, by their names
  std::vector<TransformChoice> transforms{};
  std::optional<double> weight{};
  Selection select{};
  std::optional<Windows> windows{};
  Shuffle shuffle = Shuffle::samples;
  int shuffle_window = 8;  // shards that are mixed at a time, of Shuffle::shards
  RemoteOptions remote{};
};

// Local. Reads a file of [[source]] tables. Paths in it are relative to its folder. Throws DataError if it cannot be
// read, UsageError naming file, line and key: not TOML, an unknown key, a value of another kind.
[[nodiscard]] std::vector<SourceOptions> read_sources(const std::filesystem::path& file);

// Local. Opens the data set, indexes and selects. Reads the values of all samples where the selection asks for some.
// Throws DataError and UsageError naming the source.
[[nodiscard]] Source open_source(const SourceOptions& options, const TransformRegistry& transforms = {});

// The same over records of a format of one's own; options.path, records and remote are not used.
[[nodiscard]] Source open_source(const SourceOptions& options, std::shared_ptr<const RecordReader> records,
                                 const TransformRegistry& transforms = {});

// Local. The sources of a .toml file, or one of the data set in a folder or behind a URL, of any format.
[[nodiscard]] std::vector<Source> open_sources(const std::string& path, const TransformRegistry& transforms = {});

}  // namespace lockstep
