// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/source_options.hpp"
#include "source/record_dataset.hpp"
#include "source/selection.hpp"
#include "source/windows.hpp"

namespace lockstep {
namespace {

// The stored fields that are delivered are the only ones that are read for every sample.
RecordOptions with_wanted_fields(const SourceOptions& options) {
  RecordOptions wanted = options.records;
  if (!wanted.fields.empty()) return wanted;
  for (const auto& field : options.fields) {
    const std::string& name = field.from.empty() ? field.name : field.from;
    if (std::ranges::find(wanted.fields, name) == wanted.fields.end()) wanted.fields.push_back(name);
  }
  return wanted;
}

// The records with all their fields: those that decide which samples there are need not be delivered. Opened when asked
// for, because it may mean to index the data set a second time.
class Values {
 public:
  explicit Values(std::shared_ptr<const RecordReader> records) : reader_(std::move(records)) {}
  Values(std::shared_ptr<const BlobStore> store, const RecordOptions& options)
      : store_(std::move(store)), options_(options) {
    options_.fields.clear();
  }

  [[nodiscard]] const RecordReader& reader() {
    if (!reader_) reader_ = open_records(store_, options_);
    return *reader_;
  }

 private:
  const std::shared_ptr<const BlobStore> store_;
  RecordOptions options_;
  std::shared_ptr<const RecordReader> reader_;
};

// Frames of each log.
std::vector<std::int64_t> logs_of(const SourceOptions& options, const RecordReader& records, Values& values) {
  if (!options.windows->log) return records.shard_samples();
  std::vector<std::int64_t> logs;
  const auto of_frames = values_of(options.name, values.reader(), *options.windows->log);
  for (std::size_t i = 0; i < of_frames.size(); ++i) {
    if (i == 0 || of_frames[i] != of_frames[i - 1]) logs.push_back(0);
    ++logs.back();
  }
  return logs;
}

class FirstFrames final : public RecordOf {
 public:
  explicit FirstFrames(const WindowedDataset& windows) : windows_(windows) {}
  [[nodiscard]] std::int64_t operator()(std::int64_t sample) const override { return windows_.first_frame(sample); }

 private:
  const WindowedDataset& windows_;
};

std::shared_ptr<const SampleOrder> balanced_by(const SourceOptions& options, Values& values,
                                               const std::vector<std::int64_t>& chosen, const RecordOf& record_of) {
  const auto of_records = values_of(options.name, values.reader(), *options.select.balance);
  std::map<std::string, std::vector<std::int64_t>> classes;  // sorted: their turns do not depend on the data's order
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    classes[of_records[static_cast<std::size_t>(record_of(chosen[i]))]].push_back(static_cast<std::int64_t>(i));
  }
  std::vector<std::vector<std::int64_t>> members;
  for (auto& [value, of_class] : classes) members.push_back(std::move(of_class));
  return balanced(std::move(members));
}

// The chosen samples of each shard. Windows and selections keep the order of the records, so that shards stay in one
// piece.
std::vector<std::int64_t> shards_of(const std::vector<std::int64_t>& chosen, const RecordReader& records,
                                    const RecordOf& record_of) {
  std::vector<std::int64_t> shards;
  std::size_t next = 0;
  std::int64_t end = 0;
  for (const auto samples : records.shard_samples()) {
    end += samples;
    const std::size_t first = next;
    while (next < chosen.size() && record_of(chosen[next]) < end) ++next;
    shards.push_back(static_cast<std::int64_t>(next - first));
  }
  return shards;
}

void require_samples(const SourceOptions& options, bool any, std::string why) {
  if (any) return;
  throw DataError({.what = fmt::format("source \"{}\"", options.name),
                   .why = std::move(why),
                   .fix = "select more of it, or leave the source out"});
}

Source make_source(const SourceOptions& options, const std::shared_ptr<const RecordReader>& records, Values& values,
                   const TransformRegistry& transforms) {
  std::vector<std::shared_ptr<const Transform>> chain;
  for (const auto& choice : options.transforms) chain.push_back(transforms.make(choice.name, choice.options));
  const auto frames = std::make_shared<const RecordDataset>(options.name, records, options.fields, std::move(chain));

  Source source{.name = options.name, .dataset = frames, .weight = options.weight};
  std::unique_ptr<const RecordOf> record_of = std::make_unique<RecordOf>();
  if (options.windows) {
    const auto windows =
        std::make_shared<const WindowedDataset>(frames, *options.windows, logs_of(options, *records, values));
    record_of = std::make_unique<FirstFrames>(*windows);
    source.dataset = windows;
    require_samples(options, windows->samples() > 0, "no log is as long as a window, so that it has no samples");
  }
  const Selection& select = options.select;
  const bool selects = !select.where.empty() || select.every_nth != 1 || select.cap;
  if (!selects && !select.balance && options.shuffle == Shuffle::samples) return source;

  const RecordReader& deciding = select.where.empty() ? *records : values.reader();
  const auto chosen = select_samples(options, deciding, source.dataset->samples(), *record_of);
  require_samples(options, !chosen.empty(),
                  fmt::format("none of its {} samples is selected", source.dataset->samples()));
  if (select.balance) {
    source.order = balanced_by(options, values, chosen, *record_of);
  } else if (options.shuffle == Shuffle::shards) {
    source.order = shuffled_shards(shards_of(chosen, *records, *record_of), options.shuffle_window);
  } else if (options.shuffle == Shuffle::none) {
    source.order = in_order(std::ssize(chosen));
  }
  if (selects) source.dataset = std::make_shared<const SelectedDataset>(source.dataset, chosen);
  return source;
}

}  // namespace

Source open_source(const SourceOptions& options, const TransformRegistry& transforms) {
  const auto store = open_store(options.path, options.remote);
  Values values(store, options.records);
  return make_source(options, open_records(store, with_wanted_fields(options)), values, transforms);
}

Source open_source(const SourceOptions& options, std::shared_ptr<const RecordReader> records,
                   const TransformRegistry& transforms) {
  Values values(records);
  return make_source(options, records, values, transforms);
}

std::vector<Source> open_sources(const std::string& path, const TransformRegistry& transforms) {
  std::vector<Source> sources;
  if (!path.ends_with(".toml")) {
    sources.push_back(open_source({.name = "", .path = path}, transforms));
    return sources;
  }
  for (const auto& options : read_sources(path)) sources.push_back(open_source(options, transforms));
  return sources;
}

}  // namespace lockstep
