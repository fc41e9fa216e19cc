// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "commands.hpp"
#include "lockstep/base/error.hpp"
#include "values.hpp"

namespace lockstep::tool {
namespace {

using Json = nlohmann::ordered_json;

// Of the files that were named, or of all; nothing where a store cannot be listed or names stand for several files.
std::optional<std::uint64_t> stored_bytes(const BlobStore& store, const RecordOptions& options) {
  try {
    std::uint64_t bytes = 0;
    for (const auto& name : options.files.empty() ? store.list() : options.files) bytes += store.open(name)->size();
    return bytes;
  } catch (const Error&) {
    return std::nullopt;
  }
}

Json describe_field(const StoredField& field, std::span<const std::byte> stored) {
  const auto shown = show(field, stored);
  return {{"name", field.name},   {"encoding", field.encoding}, {"dtype", shown.dtype},
          {"shape", shown.shape}, {"bytes", stored.size()},     {"value", shown.value}};
}

Json describe_data(const DataArguments& data) {
  const auto input = open_input(data);
  const auto& reader = *input.reader;
  Json fields = Json::array();
  Record first;
  reader.read(0, first);
  for (std::size_t i = 0; i < first.fields.size(); ++i) {
    fields.push_back(describe_field(reader.fields()[i], first.fields[i]));
  }
  const auto bytes = stored_bytes(*input.store, input.options);
  return {{"location", data.location},
          {"format", input.format},
          {"samples", reader.samples()},
          {"shards", reader.shard_samples()},
          {"bytes", bytes ? Json(*bytes) : Json(nullptr)},
          {"checksummed", reader.checksummed()},
          {"fingerprint", reader.fingerprint()},
          {"fields", fields}};
}

std::string shape_text(const Json& shape) {
  return fmt::format("[{}]", fmt::join(shape.get<std::vector<std::int64_t>>(), ", "));
}

void print_text(const Json& found) {
  const auto shards = found["shards"].get<std::vector<std::int64_t>>();
  const auto [least, most] = std::ranges::minmax(shards);
  fmt::print("{}: format {}\n", found["location"].get<std::string>(), found["format"].get<std::string>());
  fmt::print("samples      {}\n", count_text(found["samples"]));
  fmt::print("shards       {}, of {} samples\n", count_text(static_cast<std::int64_t>(shards.size())),
             least == most ? count_text(most) : fmt::format("{} to {}", count_text(least), count_text(most)));
  fmt::print("size         {}\n", found["bytes"].is_null() ? "not known" : bytes_text(found["bytes"]));
  fmt::print("checksums    {}\n", found["checksummed"] ? "yes" : "no");
  fmt::print("fingerprint  {}\n\n", found["fingerprint"].get<std::string>());

  fmt::print("{:<24} {:<9} {:<8} {:<18} {:>10}  {}\n", "field", "encoding", "dtype", "shape", "bytes", "first sample");
  for (const auto& field : found["fields"]) {
    fmt::print("{:<24} {:<9} {:<8} {:<18} {:>10}  {}\n", field["name"].get<std::string>(),
               field["encoding"].get<std::string>(), field["dtype"].get<std::string>(), shape_text(field["shape"]),
               count_text(field["bytes"]), field["value"].get<std::string>());
  }
}

}  // namespace

int inspect(const DataArguments& data, bool json) {
  const auto found = describe_data(data);
  if (json) {
    fmt::print("{}\n", found.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print_text(found);
  }
  return 0;
}

}  // namespace lockstep::tool
