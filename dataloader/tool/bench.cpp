// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "commands.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/decode.hpp"
#include "lockstep/dataloader/permutation.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep::tool {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kWarmUp{200};
constexpr std::chrono::seconds kMeasured{1};

struct Rate {
  std::int64_t samples = 0;
  std::uint64_t bytes = 0;
  double seconds = 0.0;
};

struct FieldDecoder {
  std::size_t field;  // of RecordReader::fields()
  std::unique_ptr<const Decoder> decoder;
};

// What one thread does with a sample: reads it, and decodes it where there are decoders.
class Reader {
 public:
  Reader(const RecordReader& records, const std::vector<FieldDecoder>& decoders)
      : records_(records), decoders_(decoders) {}

  // The bytes it gave.
  std::uint64_t read(std::int64_t sample) {
    records_.read(sample, record_);
    std::uint64_t bytes = 0;
    if (decoders_.empty()) {
      for (const auto& field : record_.fields) bytes += field.size();
    }
    for (const auto& [field, decoder] : decoders_) {
      const auto stored = record_.fields[field];
      if (stored.data() != nullptr) bytes += decode(*decoder, stored);
    }
    return bytes;
  }

 private:
  std::uint64_t decode(const Decoder& decoder, std::span<const std::byte> stored) {
    auto bytes = decoder.delivered().row_bytes();
    if (decoder.delivered().ragged()) bytes *= static_cast<std::size_t>(decoder.rows(stored));
    if (place_.size() < bytes) place_.resize(bytes);
    decoder.decode(stored, std::span(place_).first(bytes));
    return bytes;
  }

  const RecordReader& records_;
  const std::vector<FieldDecoder>& decoders_;
  Record record_;
  std::vector<std::byte> place_;
};

// Thread `thread` of `threads` takes every threads-th sample of a shuffled order.
Rate run_thread(Reader reader, std::int64_t samples, int thread, int threads) {
  const Permutation order(static_cast<std::uint64_t>(samples), 0, 0);
  Rate rate;
  const auto begin = Clock::now() + kWarmUp;
  bool warm = false;
  auto now = Clock::now();
  for (std::int64_t position = thread; now < begin + kMeasured; position = (position + threads) % samples) {
    const auto bytes = reader.read(static_cast<std::int64_t>(order(static_cast<std::uint64_t>(position))));
    if (warm) {
      ++rate.samples;
      rate.bytes += bytes;
    }
    now = Clock::now();
    warm = now >= begin;
  }
  rate.seconds = std::chrono::duration<double>(now - begin).count();
  return rate;
}

void print_stage(std::string_view name, const Rate& rate) {
  fmt::print("{:<22} {:>14} {:>14}/s\n", name,
             count_text(static_cast<std::int64_t>(static_cast<double>(rate.samples) / rate.seconds)),
             bytes_text(static_cast<double>(rate.bytes) / rate.seconds));
}

Rate measure(const RecordReader& records, const std::vector<FieldDecoder>& decoders, int threads) {
  std::vector<std::future<Rate>> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.push_back(
        std::async(std::launch::async, run_thread, Reader(records, decoders), records.samples(), thread, threads));
  }
  Rate all;
  for (auto& one : running) {
    const auto rate = one.get();
    all.samples += rate.samples;
    all.bytes += rate.bytes;
    all.seconds = std::max(all.seconds, rate.seconds);
  }
  return all;
}

// All fields that can be delivered as they are.
std::vector<FieldOptions> delivered_fields(const RecordReader& records) {
  std::array<Record, 3> samples;  // to see whether a field's length differs
  for (std::size_t i = 0; i < samples.size(); ++i) {
    records.read((records.samples() - 1) * static_cast<std::int64_t>(i) / 2, samples[i]);
  }
  std::vector<FieldOptions> fields;
  for (std::size_t i = 0; i < records.fields().size(); ++i) {
    const auto& stored = records.fields()[i];
    const auto first = samples[0].fields[i];
    if (stored.encoding == "json" || first.data() == nullptr) continue;  // a value in it has to be named
    const bool differs =
        std::ranges::any_of(samples, [&](const Record& one) { return one.fields[i].size() != first.size(); });
    const bool may_differ = stored.encoding == "npy" || stored.encoding == "raw";
    fields.push_back({.name = stored.name,
                      .dtype = stored.delivered,
                      .scale = stored.scale,
                      .offset = stored.offset,
                      .ragged = may_differ && differs});
  }
  if (fields.empty()) {
    throw UsageError({.what = "bench",
                      .why = "the samples have no field that is more than JSON",
                      .fix = "bench a data set with pictures or arrays"});
  }
  return fields;
}

std::vector<FieldDecoder> decoders_for(const RecordReader& records, const std::vector<FieldOptions>& fields) {
  std::vector<FieldDecoder> decoders;
  Record first;
  records.read(0, first);
  for (const auto& options : fields) {
    const auto stored = std::ranges::find(records.fields(), options.name, &StoredField::name);
    const auto field = static_cast<std::size_t>(stored - records.fields().begin());
    decoders.push_back({field, make_decoder(*stored, options, first.fields[field])});
  }
  return decoders;
}

void run_until(DataLoader& loader, Clock::time_point end) {
  while (Clock::now() < end) static_cast<void>(loader.next());
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// The whole loader, as a training that takes no time would see it.
void bench_loader(const Input& input, const std::vector<FieldOptions>& fields, const BenchArguments& arguments) {
  DataLoader loader(
      {open_source({.name = "", .path = input.store->location(), .records = input.options, .fields = fields})},
      {.global_batch = arguments.batch, .threads = arguments.threads});
  run_until(loader, Clock::now() + kWarmUp);
  const auto before = loader.statistics();
  const auto begin = Clock::now();
  run_until(loader, begin + kMeasured);
  const auto after = loader.statistics();
  const double took = seconds(Clock::now() - begin);
  print_stage("and in batches",
              {after.samples - before.samples, static_cast<std::uint64_t>(after.bytes - before.bytes), took});
  fmt::print(
      "\nof the loader's time: the caller waited {:.0f} %; its threads read {:.0f} %, had read enough ahead {:.0f} %\n",
      100 * seconds(after.waited - before.waited) / took,
      100 * seconds(after.reading - before.reading) / took / arguments.threads,
      100 * seconds(after.backpressure - before.backpressure) / took / arguments.threads);
}

}  // namespace

int bench(const DataArguments& data, const BenchArguments& arguments) {
  const auto input = open_input(data);
  const auto& records = *input.reader;
  fmt::print("{}: {} samples, shuffled, {} threads\n", data.location, count_text(records.samples()), arguments.threads);
  fmt::print("{:<22} {:>14} {:>16}\n", "stage", "samples/s", "bytes/s");
  print_stage("found and checked", measure(records, {}, arguments.threads));
  const auto fields = delivered_fields(records);
  print_stage("and decoded", measure(records, decoders_for(records, fields), arguments.threads));
  bench_loader(input, fields, arguments);
  return 0;
}

}  // namespace lockstep::tool
