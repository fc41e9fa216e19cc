// SPDX-License-Identifier: Apache-2.0
#include "format/manifest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/version.hpp"

namespace lockstep {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Blocks are read whole: the bound keeps a hostile manifest from choosing how much memory that takes.
constexpr std::uint64_t kLargestBlock = 64 << 20;
constexpr std::uint64_t kLargestInt = std::numeric_limits<int>::max();
constexpr std::uint64_t kLargestInt64 = std::numeric_limits<std::int64_t>::max();

// A name with them could hide in a message, or cut it short.
bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::string hex(std::uint32_t crc) { return fmt::format("{:08x}", crc); }

std::string last_line(std::string_view body) { return "crc32c " + hex(crc32c(std::as_bytes(std::span(body)))) + "\n"; }

std::vector<std::string> hex_list(const std::vector<std::uint32_t>& crcs) {
  std::vector<std::string> texts;
  texts.reserve(crcs.size());
  std::ranges::transform(crcs, std::back_inserter(texts), hex);
  return texts;
}

ordered_json to_json(const std::vector<DatasetRecord>& records) {
  auto list = ordered_json::array();
  for (const DatasetRecord& record : records) {
    list.push_back({{"name", record.name},
                    {"dtype", std::string(name_of(record.dtype))},
                    {"shape", record.shape},
                    {"offset", record.offset},
                    {"bytes", record.bytes},
                    {"crc32c", hex(record.crc)}});
  }
  return list;
}

ordered_json to_json(const DeterminismRecord& record) {
  return {{"micro_batches", record.micro_batches},
          {"intra_op_threads", record.intra_op_threads},
          {"libtorch", record.libtorch},
          {"cpu_capability", record.cpu_capability}};
}

ordered_json to_json(const PayloadRecord& record) {
  return {{"file", record.file},
          {"bytes", record.bytes},
          {"block_bytes", record.block_bytes},
          {"crc32c", hex_list(record.block_crcs)}};
}

// Reads the JSON of one manifest; knows where it stands, for messages.
class ManifestParser {
 public:
  explicit ManifestParser(const std::filesystem::path& origin) : origin_(origin) {}

  [[nodiscard]] Manifest parse(std::string_view text) const {
    const json root = json::parse(checked_body(text));
    check_schema(root);
    Manifest manifest{
        .lockstep = root.at("lockstep").get<std::string>(),
        .step = static_cast<std::int64_t>(number(root, "step", kLargestInt64)),
        .world_size = static_cast<int>(number(root, "world_size", kLargestInt)),
        .seed = number(root, "seed", std::numeric_limits<std::uint64_t>::max()),
        .determinism = determinism(root.at("determinism")),
        .payload = payload(root.at("files")),
    };
    manifest.tensors = records(root.at("tensors"), manifest.payload.bytes);
    manifest.blobs = records(root.at("blobs"), manifest.payload.bytes);
    check_kinds(manifest);
    return manifest;
  }

  [[noreturn]] void refuse(const std::string& why, const std::string& fix = "use another checkpoint") const {
    throw CheckpointError({.what = fmt::format("read {}", origin_.string()), .why = why, .fix = fix});
  }

 private:
  // Compares the text of the last line, not its value, so that every single changed bit is seen.
  [[nodiscard]] std::string_view checked_body(std::string_view text) const {
    const std::size_t last = last_line({}).size();
    if (text.size() <= last) refuse(fmt::format("it has only {} bytes", text.size()));
    const std::string_view body = text.substr(0, text.size() - last);
    if (text.substr(body.size()) != last_line(body)) refuse("it is damaged: its bytes do not match its own CRC-32C");
    return body;
  }

  void check_schema(const json& root) const {
    const std::uint64_t version = number(root, "schema_version", kLargestInt64);
    if (version > kSchemaVersion) {
      refuse(fmt::format("it has schema_version {}; lockstep {} reads up to {}", version, lockstep::version(),
                         kSchemaVersion),
             "use the lockstep that wrote it, or a newer one");
    }
    if (version == 0) refuse("it has schema_version 0, which does not exist");
  }

  // json's own conversions wrap negative and too large numbers silently.
  [[nodiscard]] std::uint64_t number(const json& value, std::uint64_t largest, std::string_view name) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > largest) {
      refuse(fmt::format("\"{}\" is {}, not a number from 0 to {}", name, value.dump(), largest));
    }
    return value.get<std::uint64_t>();
  }
  [[nodiscard]] std::uint64_t number(const json& object, const char* key, std::uint64_t largest) const {
    return number(object.at(key), largest, key);
  }

  [[nodiscard]] std::uint32_t crc(const json& value) const {
    const auto text = value.get<std::string>();
    std::uint32_t result = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result, 16);
    if (error != std::errc{} || hex(result) != text) refuse(fmt::format("{} is not a CRC-32C", value.dump()));
    return result;
  }

  [[nodiscard]] DeterminismRecord determinism(const json& object) const {
    return {.micro_batches = static_cast<int>(number(object, "micro_batches", kLargestInt)),
            .intra_op_threads = static_cast<int>(number(object, "intra_op_threads", kLargestInt)),
            .libtorch = object.at("libtorch").get<std::string>(),
            .cpu_capability = object.at("cpu_capability").get<std::string>()};
  }

  [[nodiscard]] PayloadRecord payload(const json& files) const {
    if (!files.is_array() || files.size() != 1) refuse("schema_version 1 has exactly one entry in \"files\"");
    const json& object = files.at(0);
    PayloadRecord record{.file = object.at("file").get<std::string>(),
                         .bytes = number(object, "bytes", kLargestInt64),
                         .block_bytes = number(object, "block_bytes", kLargestBlock)};
    for (const json& block : object.at("crc32c")) record.block_crcs.push_back(crc(block));
    if (record.file.empty() || record.file == "." || record.file == ".." ||
        record.file.find('/') != std::string::npos || has_control_characters(record.file)) {
      refuse(fmt::format("{} is not a plain file name", object.at("file").dump()));
    }
    if (record.block_bytes == 0 ||
        record.block_crcs.size() != record.bytes / record.block_bytes + (record.bytes % record.block_bytes != 0)) {
      refuse(fmt::format("{} CRCs do not cover {} bytes in blocks of {}", record.block_crcs.size(), record.bytes,
                         record.block_bytes));
    }
    return record;
  }

  [[nodiscard]] DType dtype(const std::string& name) const {
    try {
      return dtype_from_name(name);
    } catch (const UsageError&) {
      refuse(fmt::format("{} is not a dtype", json(name).dump()));
    }
  }

  [[nodiscard]] DatasetRecord record(const json& object, std::uint64_t file_bytes) const {
    DatasetRecord record{.name = object.at("name").get<std::string>(),
                         .dtype = dtype(object.at("dtype").get<std::string>()),
                         .offset = number(object, "offset", kLargestInt64),
                         .bytes = number(object, "bytes", kLargestInt64),
                         .crc = crc(object.at("crc32c"))};
    for (const json& dimension : object.at("shape")) {
      record.shape.push_back(static_cast<std::int64_t>(number(dimension, kLargestInt64, "shape")));
    }
    if (!is_dataset_name(record.name)) refuse(fmt::format("{} is not a dataset's path", object.at("name").dump()));
    if (bytes_of(record.dtype, record.shape) != record.bytes) {
      refuse(fmt::format("{} of {} [{}] cannot have {} bytes", record.name, name_of(record.dtype),
                         fmt::join(record.shape, ", "), record.bytes));
    }
    if (record.offset + record.bytes > file_bytes) {
      refuse(fmt::format("{} ends at byte {} of a file of {}", record.name, record.offset + record.bytes, file_bytes));
    }
    return record;
  }

  [[nodiscard]] std::vector<DatasetRecord> records(const json& list, std::uint64_t file_bytes) const {
    std::vector<DatasetRecord> result;
    for (const json& object : list) {
      result.push_back(record(object, file_bytes));
      if (result.size() > 1 && result[result.size() - 2].name >= result.back().name) {
        refuse(fmt::format("{} stands twice or out of order", result.back().name));
      }
    }
    return result;
  }

  void check_kinds(const Manifest& manifest) const {
    for (const DatasetRecord& tensor : manifest.tensors) {
      if (is_blob_name(tensor.name)) refuse(fmt::format("the tensor {} has a blob's name", tensor.name));
    }
    for (const DatasetRecord& blob : manifest.blobs) {
      if (!is_blob_name(blob.name) || blob.dtype != DType::uint8 || blob.shape.size() != 1) {
        refuse(fmt::format("{} is not a blob", blob.name));
      }
    }
  }

  const std::filesystem::path& origin_;
};

}  // namespace

std::string print_manifest(const Manifest& manifest) {
  const ordered_json root{{"schema_version", kSchemaVersion},
                          {"lockstep", manifest.lockstep},
                          {"step", manifest.step},
                          {"world_size", manifest.world_size},
                          {"seed", manifest.seed},
                          {"determinism", to_json(manifest.determinism)},
                          {"tensors", to_json(manifest.tensors)},
                          {"blobs", to_json(manifest.blobs)},
                          {"files", ordered_json::array({to_json(manifest.payload)})}};
  try {
    const std::string body = root.dump() + "\n";
    return body + last_line(body);
  } catch (const json::exception& error) {
    throw UsageError({.what = "print a checkpoint's manifest", .why = error.what(), .fix = "use names in UTF-8"});
  }
}

Manifest parse_manifest(std::string_view text, const std::filesystem::path& origin) {
  const ManifestParser parser(origin);
  try {
    return parser.parse(text);
  } catch (const json::exception& error) {
    parser.refuse(error.what());
  }
}

bool is_dataset_name(std::string_view name) {
  if (!name.starts_with('/') || has_control_characters(name)) return false;
  for (std::size_t slash = 0; slash != std::string_view::npos;) {
    const std::size_t next = name.find('/', slash + 1);
    const std::string_view part = name.substr(slash + 1, next == std::string_view::npos ? next : next - slash - 1);
    if (part.empty() || part == "." || part == "..") return false;
    slash = next;
  }
  return true;
}

bool is_blob_name(std::string_view name) {
  return name.starts_with(kBlobFolder) || name == kBlobFolder.substr(0, kBlobFolder.size() - 1);
}

std::optional<std::uint64_t> bytes_of(DType dtype, std::span<const std::int64_t> shape) {
  auto bytes = static_cast<std::int64_t>(size_of(dtype));
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace lockstep
