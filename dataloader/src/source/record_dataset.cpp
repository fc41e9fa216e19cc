// SPDX-License-Identifier: Apache-2.0
#include "source/record_dataset.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

std::size_t find_stored(const std::string& source, const std::vector<StoredField>& stored, const std::string& name) {
  const auto found = std::ranges::find(stored, name, &StoredField::name);
  if (found != stored.end()) return static_cast<std::size_t>(found - stored.begin());
  std::vector<std::string_view> names;
  std::ranges::transform(stored, std::back_inserter(names), &StoredField::name);
  throw UsageError({.what = fmt::format("source \"{}\", field \"{}\"", source, name),
                    .why = fmt::format("its samples have [{}]", fmt::join(names, ", ")),
                    .fix = "name one of these with `from`"});
}

std::vector<FieldOptions> all_fields(const std::vector<StoredField>& stored) {
  std::vector<FieldOptions> fields;
  for (const auto& field : stored) {
    fields.push_back({.name = field.name, .ragged = !field.shape.empty() && field.shape.front() < 0});
  }
  return fields;
}

FieldOptions as_the_format_says(FieldOptions options, const StoredField& stored) {
  if (options.dtype || !stored.delivered) return options;
  options.dtype = stored.delivered;
  options.scale = stored.scale;
  options.offset = stored.offset;
  return options;
}

// An example of what is stored; without fields where there is no sample.
Record first_good_record(const RecordReader& records) {
  constexpr std::int64_t kTries = 32;
  Record record;
  record.fields.resize(records.fields().size());
  for (std::int64_t i = 0; i < records.samples(); ++i) {
    try {
      records.read(i, record);
      break;
    } catch (const DamagedSample&) {
      if (i + 1 == std::min(kTries, records.samples())) throw;
    }
  }
  return record;
}

// What a thread needs to read one sample, used again for the next.
struct Workspace {
  Record record;
  TransformChain::Scratch scratch;
  std::vector<std::span<std::byte>> places;
};

Workspace& workspace() {
  thread_local Workspace of_thread;
  return of_thread;
}

}  // namespace

RecordDataset::RecordDataset(std::string name, std::shared_ptr<const RecordReader> records,
                             const std::vector<FieldOptions>& fields,
                             std::vector<std::shared_ptr<const Transform>> transforms)
    : name_(std::move(name)), records_(std::move(records)) {
  const Record first = first_good_record(*records_);
  std::vector<FieldInfo> decoded;
  for (const auto& options : fields.empty() ? all_fields(records_->fields()) : fields) {
    const auto stored = find_stored(name_, records_->fields(), options.from.empty() ? options.name : options.from);
    const StoredField& field = records_->fields()[stored];
    fields_.push_back(
        {.stored = stored, .decoder = make_decoder(field, as_the_format_says(options, field), first.fields[stored])});
    decoded.push_back(fields_.back().decoder->delivered());
  }
  chain_ = std::make_unique<TransformChain>(std::move(decoded), std::move(transforms));
}

void RecordDataset::read_record(std::int64_t record, const SampleKey& key, SampleSlot& slot) const {
  Workspace& work = workspace();
  records_->read(record, work.record);
  work.places.clear();
  for (std::size_t f = 0; f < fields_.size(); ++f) work.places.push_back(slot.fixed(f));
  chain_->begin(slot, work.scratch);
  try {
    decode(record, work.record, slot);
  } catch (...) {  // the slot is for the sample that takes this one's place
    for (std::size_t f = 0; f < fields_.size(); ++f) slot.move_to(f, work.places[f]);
    throw;
  }
  chain_->finish(slot, work.scratch, key);
}

void RecordDataset::decode(std::int64_t number, const Record& record, SampleSlot& slot) const {
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const Decoder& decoder = *fields_[f].decoder;
    const auto stored = record.fields[fields_[f].stored];
    try {
      if (stored.data() == nullptr) {
        throw DataError({.what = "", .why = "the sample does not have it", .fix = "leave the field or the sample out"});
      }
      decoder.decode(stored, decoder.delivered().ragged() ? slot.ragged(f, decoder.rows(stored)) : slot.fixed(f));
    } catch (const DamagedSample&) {
      throw;  // the loader names the sample when it counts it
    } catch (const DataError& error) {
      throw DataError({.what = fmt::format("source \"{}\", {}, field \"{}\"", name_, records_->describe(number),
                                           decoder.delivered().name),
                       .why = error.text().why,
                       .fix = error.text().fix});
    }
  }
}

}  // namespace lockstep
