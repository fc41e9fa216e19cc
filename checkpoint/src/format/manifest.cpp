// SPDX-License-Identifier: Apache-2.0
#include "format/manifest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/version.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

// Blocks are read whole: the bound keeps a hostile manifest from choosing how much memory that takes.
constexpr std::uint64_t kLargestBlock = 64 << 20;
constexpr std::size_t kCrcDigits = 8;
constexpr std::uint64_t kLargestInt = std::numeric_limits<int>::max();
constexpr std::uint64_t kLargestInt64 = std::numeric_limits<std::int64_t>::max();

// A name with them could hide in a message, or cut it short.
bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::string hex(std::uint32_t crc) { return fmt::format("{:08x}", crc); }

std::string last_line(std::string_view body) { return "crc32c " + hex(crc32c(std::as_bytes(std::span(body)))) + "\n"; }

std::string json_text(const std::string& text) { return json(text).dump(); }

// Printed by hand: for 100,000 tensors a tree of JSON values takes ten times as long.
class ManifestPrinter {
 public:
  [[nodiscard]] std::string print(const Manifest& manifest) {
    const DeterminismRecord& determinism = manifest.determinism;
    add(R"({{"schema_version":{},"lockstep":{},"step":{},"world_size":{},"seed":{},)", kSchemaVersion,
        json_text(manifest.lockstep), manifest.step, manifest.world_size, manifest.seed);
    add(R"("determinism":{{"micro_batches":{},"intra_op_threads":{},"libtorch":{},"cpu_capability":{})",
        determinism.micro_batches, determinism.intra_op_threads, json_text(determinism.libtorch),
        json_text(determinism.cpu_capability));
    if (determinism.device != kCpuDevice) add(R"(,"device":{})", json_text(determinism.device));
    add("}},");
    add(R"("metrics":)");
    list("{}", manifest.metrics,
         [&](const auto& metric) { add("{}:{}", json_text(metric.first), json(metric.second).dump()); });
    add(R"(,"block_bytes":{},"files":)", manifest.block_bytes);
    list("[]", manifest.files, [&](const FileRecord& file) { print(file); });
    add(R"(,"tensors":)");
    list("[]", manifest.tensors, [&](const TensorRecord& tensor) { print(tensor); });
    add(R"(,"blobs":)");
    list("{}", manifest.blobs, [&](const auto& blob) { add("{}:{}", json_text(blob.first), json_text(blob.second)); });
    add("}}\n");
    return std::move(text_);
  }

 private:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }
  template <class Items, class Print>
  void list(const char* brackets, const Items& items, Print print_item) {
    text_ += brackets[0];
    for (bool first = true; const auto& item : items) {
      if (!std::exchange(first, false)) text_ += ',';
      print_item(item);
    }
    text_ += brackets[1];
  }
  void print(const FileRecord& file) {
    add(R"({{"name":{},"bytes":{},"crc32c":"{:08x}"}})", json_text(file.name), file.bytes,
        fmt::join(file.block_crcs, ""));
  }
  void print(const TensorRecord& tensor) {
    add(R"({{"name":{},"dtype":"{}","shape":[{}],"pieces":)", json_text(tensor.name), name_of(tensor.dtype),
        fmt::join(tensor.shape, ","));
    list("[]", tensor.pieces, [&](const PieceRecord& piece) {
      add(R"([{},{},{},{},"{:08x}"])", piece.file, piece.offset, piece.first_element, piece.elements, piece.crc);
    });
    text_ += '}';
  }

  std::string text_;
};

// Reads the JSON of one manifest; knows where it stands, for messages.
class ManifestParser {
 public:
  explicit ManifestParser(const std::filesystem::path& origin) : origin_(origin) {}

  [[nodiscard]] Manifest parse(std::string_view text) const {
    const json root = json::parse(checked_body(text));
    const std::uint64_t version = schema_of(root);
    Manifest manifest{
        .lockstep = root.at("lockstep").get<std::string>(),
        .step = static_cast<std::int64_t>(number(root, "step", kLargestInt64)),
        .world_size = static_cast<int>(number(root, "world_size", kLargestInt)),
        .seed = number(root, "seed", std::numeric_limits<std::uint64_t>::max()),
        .determinism = determinism(root.at("determinism")),
    };
    if (version == 1) {
      read_file_of_version_1(manifest, root.at("files"));
    } else {
      for (const auto& [name, value] : root.at("metrics").items()) {
        manifest.metrics.emplace_back(name, value.get<double>());
      }
      manifest.block_bytes = number(root, "block_bytes", kLargestBlock);
      for (const json& object : root.at("files")) manifest.files.push_back(file(object, manifest.block_bytes));
      check_twins(manifest.files);
    }
    const auto tensor_of = version == 1 ? &ManifestParser::tensor_of_version_1 : &ManifestParser::tensor;
    for (const json& object : root.at("tensors")) add(manifest.tensors, (this->*tensor_of)(object, manifest));
    if (version == 1) {
      for (const json& object : root.at("blobs")) add(manifest.stored_blobs, tensor_of_version_1(object, manifest));
    } else {
      for (const auto& [name, value] : root.at("blobs").items())
        manifest.blobs.emplace_back(name, value.get<std::string>());
    }
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

  [[nodiscard]] std::uint64_t schema_of(const json& root) const {
    const std::uint64_t version = number(root, "schema_version", kLargestInt64);
    if (version > kSchemaVersion) {
      throw NewerSchema({.what = fmt::format("read {}", origin_.string()),
                         .why = fmt::format("it has schema_version {}; lockstep {} reads up to {}", version,
                                            lockstep::version(), kSchemaVersion),
                         .fix = "use the lockstep that wrote it, or a newer one"});
    }
    if (version == 0) refuse("it has schema_version 0, which does not exist");
    return version;
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
  [[nodiscard]] std::int64_t count(const json& value, std::string_view name) const {
    return static_cast<std::int64_t>(number(value, kLargestInt64, name));
  }

  [[nodiscard]] std::uint32_t crc(std::string_view text) const {
    std::uint32_t result = 0;
    const char* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, result, 16);
    const bool is_ours =
        text.size() == kCrcDigits && std::ranges::none_of(text, [](char c) { return c >= 'A' && c <= 'F'; });
    if (error != std::errc{} || end != last || !is_ours) refuse(fmt::format("\"{}\" is not a CRC-32C", text));
    return result;
  }

  [[nodiscard]] DeterminismRecord determinism(const json& object) const {
    return {.micro_batches = static_cast<int>(number(object, "micro_batches", kLargestInt)),
            .intra_op_threads = static_cast<int>(number(object, "intra_op_threads", kLargestInt)),
            .libtorch = object.at("libtorch").get<std::string>(),
            .cpu_capability = object.at("cpu_capability").get<std::string>(),
            .device = object.value("device", kCpuDevice)};
  }

  void check_file(const FileRecord& file, std::uint64_t block_bytes) const {
    if (file.name.empty() || file.name == "." || file.name == ".." || file.name == kManifestName ||
        file.name.find('/') != std::string::npos || has_control_characters(file.name)) {
      refuse(fmt::format("{} is not a plain file name", json_text(file.name)));
    }
    if (block_bytes == 0 ||
        file.block_crcs.size() != file.bytes / block_bytes + (file.bytes % block_bytes != 0 ? 1 : 0)) {
      refuse(fmt::format("{} CRCs do not cover {} bytes in blocks of {}", file.block_crcs.size(), file.bytes,
                         block_bytes));
    }
  }

  [[nodiscard]] FileRecord file(const json& object, std::uint64_t block_bytes) const {
    FileRecord record{.name = object.at("name").get<std::string>(), .bytes = number(object, "bytes", kLargestInt64)};
    const auto& digits = object.at("crc32c").get_ref<const std::string&>();
    if (digits.size() % kCrcDigits != 0)
      refuse(fmt::format("the CRCs of {} have {} digits", record.name, digits.size()));
    for (std::size_t at = 0; at < digits.size(); at += kCrcDigits) {
      record.block_crcs.push_back(crc(std::string_view(digits).substr(at, kCrcDigits)));
    }
    check_file(record, block_bytes);
    return record;
  }

  void check_twins(const std::vector<FileRecord>& files) const {
    std::vector<std::string_view> names;
    for (const FileRecord& file : files) names.emplace_back(file.name);
    std::ranges::sort(names);
    const auto twin = std::ranges::adjacent_find(names);
    if (twin != names.end()) refuse(fmt::format("the file {} stands twice", *twin));
  }

  void read_file_of_version_1(Manifest& manifest, const json& files) const {
    if (!files.is_array() || files.size() != 1) refuse("schema_version 1 has exactly one entry in \"files\"");
    const json& object = files.at(0);
    FileRecord record{.name = object.at("file").get<std::string>(), .bytes = number(object, "bytes", kLargestInt64)};
    manifest.block_bytes = number(object, "block_bytes", kLargestBlock);
    for (const json& block : object.at("crc32c")) record.block_crcs.push_back(crc(block.get<std::string>()));
    check_file(record, manifest.block_bytes);
    manifest.files = {std::move(record)};
  }

  [[nodiscard]] DType dtype(const std::string& name) const {
    try {
      return dtype_from_name(name);
    } catch (const UsageError&) {
      refuse(fmt::format("{} is not a dtype", json_text(name)));
    }
  }

  // All but the pieces.
  [[nodiscard]] TensorRecord head(const json& object) const {
    TensorRecord record{.name = object.at("name").get<std::string>(),
                        .dtype = dtype(object.at("dtype").get<std::string>())};
    for (const json& dimension : object.at("shape")) record.shape.push_back(count(dimension, "shape"));
    if (!is_dataset_name(record.name)) refuse(fmt::format("{} is not a dataset's path", json_text(record.name)));
    return record;
  }

  [[nodiscard]] TensorRecord tensor(const json& object, const Manifest& manifest) const {
    TensorRecord record = head(object);
    for (const json& piece : object.at("pieces")) {
      record.pieces.push_back({.file = number(piece.at(0), kLargestInt64, "pieces"),
                               .offset = number(piece.at(1), kLargestInt64, "pieces"),
                               .first_element = count(piece.at(2), "pieces"),
                               .elements = count(piece.at(3), "pieces"),
                               .crc = crc(piece.at(4).get<std::string>())});
    }
    check_pieces(record, manifest);
    return record;
  }

  [[nodiscard]] TensorRecord tensor_of_version_1(const json& object, const Manifest& manifest) const {
    TensorRecord record = head(object);
    const std::uint64_t bytes = number(object, "bytes", kLargestInt64);
    if (bytes_of(record.dtype, record.shape) != bytes) {
      refuse(fmt::format("{} of {} [{}] cannot have {} bytes", record.name, name_of(record.dtype),
                         fmt::join(record.shape, ", "), bytes));
    }
    if (bytes > 0) {
      record.pieces.push_back({.offset = number(object, "offset", kLargestInt64),
                               .elements = static_cast<std::int64_t>(bytes / size_of(record.dtype)),
                               .crc = crc(object.at("crc32c").get<std::string>())});
    }
    check_pieces(record, manifest);
    return record;
  }

  void check_pieces(const TensorRecord& record, const Manifest& manifest) const {
    const auto bytes = bytes_of(record.dtype, record.shape);
    if (!bytes) refuse(fmt::format("{} has the shape [{}]", record.name, fmt::join(record.shape, ", ")));
    const auto elements = static_cast<std::int64_t>(*bytes / size_of(record.dtype));
    std::int64_t next = 0;
    for (const PieceRecord& piece : record.pieces) {
      if (piece.file >= manifest.files.size()) refuse(fmt::format("{} lies in file {}", record.name, piece.file));
      if (piece.first_element != next || piece.elements == 0 || piece.elements > elements - next) {
        refuse(fmt::format("a piece of {} has {} elements from {} on; {} of {} came before", record.name,
                           piece.elements, piece.first_element, next, elements));
      }
      next += piece.elements;
      const FileRecord& file = manifest.files[piece.file];
      const std::uint64_t piece_bytes = static_cast<std::uint64_t>(piece.elements) * size_of(record.dtype);
      if (piece.offset > file.bytes || piece_bytes > file.bytes - piece.offset) {
        refuse(fmt::format("{} ends at byte {} of {}, a file of {}", record.name, piece.offset + piece_bytes, file.name,
                           file.bytes));
      }
    }
    if (next != elements) refuse(fmt::format("the pieces of {} are {} of {} elements", record.name, next, elements));
  }

  void add(std::vector<TensorRecord>& records, TensorRecord record) const {
    if (!records.empty() && records.back().name >= record.name) {
      refuse(fmt::format("{} stands twice or out of order", record.name));
    }
    records.push_back(std::move(record));
  }

  void check_kinds(const Manifest& manifest) const {
    for (const TensorRecord& tensor : manifest.tensors) {
      if (is_blob_name(tensor.name)) refuse(fmt::format("the tensor {} has a blob's name", tensor.name));
    }
    for (const TensorRecord& blob : manifest.stored_blobs) {
      if (!is_blob_name(blob.name) || blob.dtype != DType::uint8 || blob.shape.size() != 1) {
        refuse(fmt::format("{} is not a blob", blob.name));
      }
    }
  }

  const std::filesystem::path& origin_;
};

}  // namespace

std::string print_manifest(const Manifest& manifest) {
  try {
    const std::string body = ManifestPrinter().print(manifest);
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
