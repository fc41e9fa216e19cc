// SPDX-License-Identifier: Apache-2.0
#include "source/selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/base/hash.hpp"
#include "lockstep/dataloader/permutation.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

// A number that is stored as it is.
template <typename T>
std::string number_text(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
  return json(value).dump();
}

std::string raw_text(DType dtype, std::span<const std::byte> bytes) {
  switch (dtype) {
    case DType::float64:
      return number_text<double>(bytes);
    case DType::float32:
      return number_text<float>(bytes);
    case DType::int64:
      return number_text<std::int64_t>(bytes);
    case DType::int32:
      return number_text<std::int32_t>(bytes);
    case DType::int16:
      return number_text<std::int16_t>(bytes);
    case DType::int8:
      return number_text<std::int8_t>(bytes);
    case DType::uint8:
      return number_text<std::uint8_t>(bytes);
    case DType::boolean:
      return number_text<std::uint8_t>(bytes) == "0" ? "false" : "true";
    case DType::float16:
    case DType::bfloat16:
      break;
  }
  return "null";  // in no range and no list
}

std::string value_in(const StoredField& field, std::span<const std::byte> bytes, const std::string& pointer) {
  if (field.encoding == "raw") return raw_text(field.dtype, bytes);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json value = json::parse(text, text + bytes.size()).at(json::json_pointer(pointer));
  return value.is_string() ? value.get<std::string>() : value.dump();
}

bool holds(const Condition& condition, const std::string& value) {
  if (!condition.any_of.empty() && std::ranges::find(condition.any_of, value) == condition.any_of.end()) return false;
  if (!condition.least && !condition.most) return true;
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size()) return false;  // not a number: in no range
  return (!condition.least || number >= *condition.least) && (!condition.most || number <= *condition.most);
}

void refuse(bool bad, const SourceOptions& options, const char* key, std::int64_t value) {
  if (bad) {
    throw UsageError({.what = fmt::format("source \"{}\", select.{}", options.name, key),
                      .why = fmt::format("it is {}, not at least 1", value)});
  }
}

}  // namespace

std::vector<std::string> values_of(const std::string& source, const RecordReader& records, const ValueAt& at) {
  const auto& fields = records.fields();
  const auto field = std::ranges::find(fields, at.field, &StoredField::name);
  if (field == fields.end()) {
    throw UsageError({.what = fmt::format("source \"{}\", field \"{}\"", source, at.field),
                      .why = "its samples do not have it",
                      .fix = "see `lockstep data inspect` for those that they have"});
  }
  if (field->encoding == "raw" && (!field->shape.empty() || !at.pointer.empty())) {
    throw UsageError({.what = fmt::format("source \"{}\", field \"{}\"", source, at.field),
                      .why = "its values are arrays, and a value to select by is one number",
                      .fix = "choose a field of single numbers, without a pointer"});
  }
  std::vector<std::string> values;
  Record record;
  for (std::int64_t i = 0; i < records.samples(); ++i) {
    try {
      records.read(i, record);
      values.push_back(value_in(*field, record.fields[static_cast<std::size_t>(field - fields.begin())], at.pointer));
    } catch (const json::exception& error) {
      throw DataError({.what = fmt::format("source \"{}\", {}, \"{}\" in field \"{}\"", source, records.describe(i),
                                           at.pointer, at.field),
                       .why = error.what(),
                       .fix = "every sample must have the value, in JSON"});
    }
  }
  return values;
}

SelectedDataset::SelectedDataset(std::shared_ptr<const Dataset> whole, std::vector<std::int64_t> samples)
    : whole_(std::move(whole)), samples_(std::move(samples)) {}

std::string SelectedDataset::fingerprint() const {
  const std::string_view bytes(reinterpret_cast<const char*>(samples_.data()), samples_.size() * sizeof(samples_[0]));
  return fmt::format("{}/{:016x}", whole_->fingerprint(), fnv1a(bytes));
}

void SelectedDataset::read(const SampleKey& key, SampleSlot& slot) const {
  SampleKey of_whole = key;
  of_whole.sample = samples_[static_cast<std::size_t>(key.sample)];
  whole_->read(of_whole, slot);
}

std::string SelectedDataset::describe(std::int64_t sample) const {
  return whole_->describe(samples_[static_cast<std::size_t>(sample)]);
}

std::vector<std::int64_t> select_samples(const SourceOptions& options, const RecordReader& records,
                                         std::int64_t samples, const RecordOf& record_of) {
  const Selection& select = options.select;
  refuse(select.every_nth < 1, options, "every_nth", select.every_nth);
  std::vector<std::int64_t> chosen(static_cast<std::size_t>(samples));
  std::iota(chosen.begin(), chosen.end(), 0);
  for (const auto& condition : select.where) {
    const auto values = values_of(options.name, records, condition.at);
    std::erase_if(chosen, [&](std::int64_t sample) {
      return !holds(condition, values[static_cast<std::size_t>(record_of(sample))]);
    });
  }
  if (select.every_nth > 1) {
    std::vector<std::int64_t> kept;
    for (std::size_t i = 0; i < chosen.size(); i += static_cast<std::size_t>(select.every_nth))
      kept.push_back(chosen[i]);
    chosen = std::move(kept);
  }
  if (select.cap) refuse(*select.cap < 1, options, "cap", *select.cap);
  if (select.cap && *select.cap < std::ssize(chosen)) {
    const Permutation order(chosen.size(), fnv1a(options.name), 0);
    std::vector<std::int64_t> kept;
    for (std::int64_t i = 0; i < *select.cap; ++i) kept.push_back(chosen[order(static_cast<std::uint64_t>(i))]);
    std::ranges::sort(kept);
    chosen = std::move(kept);
  }
  return chosen;
}

}  // namespace lockstep
