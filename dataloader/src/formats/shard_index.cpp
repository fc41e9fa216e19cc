// SPDX-License-Identifier: Apache-2.0
#include "formats/shard_index.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "decode/convert.hpp"
#include "formats/sharded_reader.hpp"
#include "json_number.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr int kSchemaVersion = 2;

json without_fingerprint(const ShardIndex& index) {
  json document = {{"schema_version", kSchemaVersion},
                   {"samples", index.samples},
                   {"fields", json::array()},
                   {"shards", json::array()}};
  for (const auto& field : index.fields) {
    document["fields"].push_back({{"name", field.name},
                                  {"dtype", name_of(field.dtype)},
                                  {"shape", field.shape},
                                  {"delivered", name_of(field.delivered)},
                                  {"scale", field.scale},
                                  {"offset", field.offset}});
  }
  for (const auto& shard : index.shards) {
    json offsets{{kChecksums, shard.checksums}};
    for (std::size_t i = 0; i < index.fields.size(); ++i) offsets[index.fields[i].name] = shard.offsets[i];
    document["shards"].push_back({{"file", shard.file},
                                  {"samples", shard.samples},
                                  {"bytes", shard.bytes},
                                  {"crc32c", fmt::format("{:08x}", shard.crc32c)},
                                  {"offsets", std::move(offsets)}});
  }
  return document;
}

FieldSchema parse_field(const json& field) {
  std::vector<std::int64_t> shape;
  for (const auto& size : field.at("shape")) shape.push_back(whole_number(size));
  return {.name = field.at("name"),
          .dtype = dtype_from_name(field.at("dtype").get<std::string>()),
          .shape = std::move(shape),
          .delivered = dtype_from_name(field.at("delivered").get<std::string>()),
          .scale = field.at("scale"),
          .offset = field.at("offset")};
}

ShardEntry parse_shard(const json& shard, const std::vector<FieldSchema>& fields) {
  ShardEntry entry{.file = shard.at("file"),
                   .samples = whole_number(shard.at("samples")),
                   .bytes = whole_number<std::uint64_t>(shard.at("bytes"))};
  const json& offsets = shard.at("offsets");
  for (const auto& field : fields) entry.offsets.push_back(whole_number<std::uint64_t>(offsets.at(field.name)));
  entry.checksums = whole_number<std::uint64_t>(offsets.at(kChecksums));
  const auto crc = shard.at("crc32c").get<std::string>();
  std::from_chars(crc.data(), crc.data() + crc.size(), entry.crc32c, 16);  // a bad one: the fingerprint differs
  return entry;
}

// Why the index cannot be true; empty if it can. After this, arithmetic with its numbers does not overflow.
std::string inconsistency(const ShardIndex& index) {
  for (const auto& field : index.fields) {
    if (auto problem = schema_problem(field); !problem.empty()) {
      return problem;
    }
  }
  std::int64_t samples = 0;
  for (const auto& shard : index.shards) {
    if (std::filesystem::path(shard.file).filename() != shard.file) {
      return fmt::format("\"{}\" is not a plain file name", shard.file);
    }
    const auto holds = [&](std::uint64_t offset, std::uint64_t of_sample) {
      return offset <= shard.bytes && static_cast<std::uint64_t>(shard.samples) <= (shard.bytes - offset) / of_sample;
    };
    bool fits = holds(shard.checksums, sizeof(std::uint32_t) * std::max<std::size_t>(1, index.fields.size()));
    for (std::size_t i = 0; i < index.fields.size(); ++i) {
      fits = fits && holds(shard.offsets[i], sample_bytes(index.fields[i]));
    }
    if (!fits || __builtin_add_overflow(samples, shard.samples, &samples)) {
      return fmt::format("{} cannot hold {} samples in {} bytes", shard.file, shard.samples, shard.bytes);
    }
  }
  if (samples != index.samples) {
    return fmt::format("it says {} samples, its shards hold {}", index.samples, samples);
  }
  return {};
}

}  // namespace

std::string schema_problem(const FieldSchema& schema) {
  const auto is_name_character = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  if (schema.name.empty() || !std::ranges::all_of(schema.name, is_name_character)) {
    return "a field's name has letters a to z, digits and _";
  }
  if (schema.name == kChecksums) return fmt::format("no field is named {}", kChecksums);
  std::uint64_t bytes = size_of(schema.dtype);
  for (const auto size : schema.shape) {
    if (size < 1 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      return fmt::format("field \"{}\" has the impossible shape [{}]", schema.name, fmt::join(schema.shape, ", "));
    }
  }
  if (converter(schema.dtype, schema.delivered) == nullptr) {
    return fmt::format("field \"{}\" is stored as {}, which cannot be delivered as {}", schema.name,
                       name_of(schema.dtype), name_of(schema.delivered));
  }
  const bool scalable = schema.dtype != schema.delivered && schema.delivered == DType::float32;
  const bool scaled = schema.scale != 1.0 || schema.offset != 0.0;
  if (!std::isfinite(schema.scale) || !std::isfinite(schema.offset) || (scaled && !scalable)) {
    return fmt::format("field \"{}\" has scale {} and offset {}, which {} delivered as {} cannot have", schema.name,
                       schema.scale, schema.offset, name_of(schema.dtype), name_of(schema.delivered));
  }
  return {};
}

std::uint64_t sample_bytes(const FieldSchema& schema) {
  std::uint64_t bytes = size_of(schema.dtype);
  for (const auto size : schema.shape) {
    bytes *= static_cast<std::uint64_t>(size);
  }
  return bytes;
}

std::string fingerprint_of(const ShardIndex& index) { return hash_of_text(without_fingerprint(index).dump()); }

std::string to_json_text(const ShardIndex& index) {
  json document = without_fingerprint(index);
  document["fingerprint"] = fingerprint_of(index);
  return document.dump(2) + '\n';
}

ShardIndex parse_index(std::string_view text, const std::string& what) {
  const auto fail = [&](std::string why) -> ShardIndex {
    throw DataError({.what = what, .why = std::move(why), .fix = "pack the data set again"});
  };
  try {
    const json document = json::parse(text);
    if (const auto version = whole_number(document.at("schema_version")); version != kSchemaVersion) {
      return fail(fmt::format("schema_version is {}, this lockstep reads {}", version, kSchemaVersion));
    }
    ShardIndex index{.samples = whole_number(document.at("samples")), .fields = {}, .shards = {}};
    std::ranges::transform(document.at("fields"), std::back_inserter(index.fields), parse_field);
    std::ranges::transform(document.at("shards"), std::back_inserter(index.shards),
                           [&](const json& shard) { return parse_shard(shard, index.fields); });
    if (auto why = inconsistency(index); !why.empty()) {
      return fail(std::move(why));
    }
    if (document.at("fingerprint") != fingerprint_of(index)) {
      return fail("its fingerprint does not match its content: it was edited or is damaged");
    }
    return index;
  } catch (const json::exception& error) {
    return fail(error.what());
  } catch (const UsageError& error) {  // dtype_from_name
    return fail(error.what());
  }
}

ShardIndex read_index(const std::filesystem::path& folder) {
  const std::string what = fmt::format("data set {}", folder.string());
  const std::string fix = fmt::format("set data.path to a folder of shards with {}, or pack one there", kIndexFile);
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw DataError({.what = what, .why = "there is no such folder", .fix = fix});
  }
  if (!std::filesystem::exists(folder / kIndexFile, ignored)) {
    throw DataError({.what = what, .why = fmt::format("there is no {} in it", kIndexFile), .fix = fix});
  }
  return parse_index(read_file(folder / kIndexFile), fmt::format("data set index {}", (folder / kIndexFile).string()));
}

}  // namespace lockstep
