// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/data_loader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "loader/pipeline.hpp"
#include "lockstep/base/error.hpp"
#include "order/loader_state.hpp"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

void require(bool ok, std::string why) {
  if (!ok) throw UsageError({.what = "DataLoader", .why = std::move(why)});
}

std::string field_text(const FieldInfo& field) {
  std::string shape;
  for (const auto size : field.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", size);
  return fmt::format("{} {}[{}]", field.name, name_of(field.dtype), shape);
}

// A batch mixes the sources, so that all must deliver the same.
void check_fields(const std::vector<Source>& sources) {
  const auto& expected = sources.front().dataset->fields();
  for (const auto& source : sources) {
    const auto& fields = source.dataset->fields();
    require(fields.size() == expected.size(), fmt::format("source \"{}\" delivers {} fields and \"{}\" {}", source.name,
                                                          fields.size(), sources.front().name, expected.size()));
    for (std::size_t i = 0; i < fields.size(); ++i) {
      require(fields[i] == expected[i],
              fmt::format("source \"{}\" delivers {} and \"{}\" {}", source.name, field_text(fields[i]),
                          sources.front().name, field_text(expected[i])));
    }
  }
}

const LoaderOptions& checked(const std::vector<Source>& sources, const LoaderOptions& options) {
  require(options.global_batch >= 1, fmt::format("global_batch is {}, not at least 1", options.global_batch));
  require(options.micro_batches >= 1, fmt::format("micro_batches is {}, not at least 1", options.micro_batches));
  require(options.prefetch_steps >= 1, fmt::format("prefetch_steps is {}, not at least 1", options.prefetch_steps));
  require(options.threads >= 1, fmt::format("threads is {}, not at least 1", options.threads));
  require(options.epoch_samples >= 0, fmt::format("epoch_samples is {}, not at least 0", options.epoch_samples));
  const auto& owned = options.owned;
  require(0 <= owned.first && owned.first <= owned.last && owned.last <= options.micro_batches,
          fmt::format("owned micro-batches {} … {} are not of the {} of a step", owned.first, owned.last - 1,
                      options.micro_batches));
  require(!sources.empty(), "there is no source");
  std::set<std::string_view> names;
  for (const auto& source : sources) {
    require(names.insert(source.name).second, fmt::format("two sources are named \"{}\"", source.name));
  }
  check_fields(sources);
  return options;
}

std::vector<std::uint64_t> seeds_of(const SampleStream& stream, std::size_t sources) {
  std::vector<std::uint64_t> seeds;
  for (std::size_t i = 0; i < sources; ++i) seeds.push_back(stream.seed_of(i));
  return seeds;
}

}  // namespace

class DataLoader::Impl {
 public:
  Impl(std::vector<Source> given, const LoaderOptions& loader_options)
      : sources(std::move(given)),
        options(checked(sources, loader_options)),
        stream(sources, options),
        reader(sources, seeds_of(stream, sources.size())),
        delivered(stream.position()) {}

  void add(std::vector<DamagedEntry> entries);
  void check_budget() const;

  const std::vector<Source> sources;
  const LoaderOptions options;
  SampleStream stream;  // where the pipeline plans: ahead of what was delivered
  SampleReader reader;
  StreamPosition delivered;
  std::vector<DamagedEntry> damaged;  // sorted by source and sample
  std::vector<DamagedEntry> found;    // those of them that other ranks were not told of yet
  LoaderStatistics statistics;
  std::optional<Pipeline> pipeline;  // last: its threads stop first
};

void DataLoader::Impl::add(std::vector<DamagedEntry> entries) {
  if (entries.empty()) return;
  const auto key = [](const DamagedEntry& entry) { return std::tie(entry.source, entry.sample); };
  std::ranges::move(entries, std::back_inserter(damaged));
  std::ranges::stable_sort(damaged, {}, key);
  const auto doubles = std::ranges::unique(damaged, {}, key);
  damaged.erase(doubles.begin(), doubles.end());
  reader.know_damaged(damaged);
}

void DataLoader::Impl::check_budget() const {
  const std::int64_t budget = options.damaged_budget.value_or(stream.epoch_samples() / 1000);
  if (std::ssize(damaged) <= budget) return;
  std::string list;
  for (const auto& entry : damaged) list += fmt::format("\n  {} sample {}: {}", entry.source, entry.sample, entry.why);
  throw DataError({.what = "DataLoader",
                   .why = fmt::format("{} samples are damaged, more than the {} that may be replaced:{}",
                                      damaged.size(), budget, list),
                   .fix = "check the data set with `lockstep data verify` and copy what is damaged again"});
}

DataLoader::DataLoader(std::vector<Source> sources, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(std::move(sources), options)) {}

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options)
    : DataLoader(std::vector<Source>{{.name = "", .dataset = std::move(dataset)}}, options) {}

DataLoader::~DataLoader() = default;

LoadedStep DataLoader::next() {
  Impl& impl = *impl_;
  if (!impl.pipeline) {
    impl.pipeline.emplace(impl.sources.front().dataset->fields(), impl.stream, impl.reader, impl.options);
  }
  const auto began = Clock::now();
  ReadStep read = impl.pipeline->next();
  impl.statistics.waited += Clock::now() - began;
  impl.statistics.bytes += read.bytes;
  ++impl.statistics.steps;
  for (const auto& micro_batch : read.step.micro_batches) impl.statistics.samples += micro_batch.samples;
  impl.delivered = std::move(read.after);
  std::ranges::copy(read.damaged, std::back_inserter(impl.found));
  impl.add(std::move(read.damaged));
  impl.check_budget();
  return std::move(read.step);
}

std::int64_t DataLoader::epoch_samples() const noexcept { return impl_->stream.epoch_samples(); }

std::int64_t DataLoader::steps_per_epoch() const noexcept { return impl_->stream.steps_per_epoch(); }

const std::vector<Source>& DataLoader::sources() const noexcept { return impl_->sources; }

const LoaderOptions& DataLoader::options() const noexcept { return impl_->options; }

LoaderStatistics DataLoader::statistics() const {
  LoaderStatistics statistics = impl_->statistics;
  if (impl_->pipeline) impl_->pipeline->add_to(statistics);
  return statistics;
}

std::vector<DamagedEntry> DataLoader::damaged() const { return impl_->damaged; }

std::string DataLoader::take_findings() {
  return impl_->found.empty() ? std::string() : to_json_text(std::exchange(impl_->found, {}));
}

void DataLoader::merge_findings(int /*rank*/, std::string_view findings) {
  impl_->add(damaged_from_json_text(findings));
  impl_->check_budget();
}

std::string DataLoader::state() const {
  return to_json_text({.seed = impl_->options.seed, .position = impl_->delivered, .damaged = impl_->damaged},
                      impl_->sources, impl_->stream);
}

void DataLoader::load_state(std::string_view state) {
  Impl& impl = *impl_;
  LoaderState loaded = from_json_text(state, impl.options.seed, impl.sources, impl.stream);
  impl.pipeline.reset();  // before its stream moves
  impl.stream.seek(loaded.position);
  impl.delivered = std::move(loaded.position);
  impl.damaged.clear();
  impl.found.clear();
  impl.add(std::move(loaded.damaged));
}

}  // namespace lockstep
