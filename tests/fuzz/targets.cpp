// SPDX-License-Identifier: Apache-2.0
#include "targets.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "dataloader/tar_maker.hpp"
#include "format/manifest.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/records.hpp"
#include "memory_store.hpp"

namespace lockstep::fuzz {
namespace {

// Touches every byte that is delivered.
void read_all(const MemoryStore& store, const RecordOptions& options) {
  try {
    const auto reader = open_records(std::make_shared<MemoryStore>(store), options);
    constexpr std::int64_t kMost = 4096;  // an input is short: more samples are empty ones
    Record record;
    for (std::int64_t i = 0; i < std::min(reader->samples(), kMost); ++i) {
      try {
        reader->read(i, record);
      } catch (const Error&) {
        continue;
      }
      std::uint32_t sum = 0;
      for (const auto field : record.fields) sum ^= crc32c(field);
      if (record.fields.size() != reader->fields().size()) std::abort();
      if (sum == 1) static_cast<void>(reader->describe(i));  // keeps the sum
    }
    static_cast<void>(reader->fingerprint());
  } catch (const Error&) {
  }
}

// Appends numbers as they lie in memory, which is little-endian.
template <typename... T>
std::string words(T... values) {
  std::string bytes;
  const auto append = [&](std::uint32_t value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  (append(static_cast<std::uint32_t>(values)), ...);
  return bytes;
}

nlohmann::json mds_columns() {
  return {{"column_names", {"array", "label", "text"}},
          {"column_encodings", {"ndarray", "int32", "str"}},
          {"column_sizes", {nullptr, 4, nullptr}}};
}

// Two samples: an array of 3 × int16, a number and a text.
std::string good_mds_shard() {
  const auto config = mds_columns().dump();
  const auto sample = words(8, 2) + std::string("\x11\x04\x03", 3) + "abcde" + words(7) + "hi";
  const auto bytes = static_cast<std::uint32_t>(sample.size());
  const auto first = static_cast<std::uint32_t>(16 + config.size());
  return words(2, first, first + bytes, first + 2 * bytes) + config + sample + sample;
}

std::string mds_index_of(std::uint32_t samples, std::size_t raw_bytes, std::size_t zip_bytes) {
  auto shard = mds_columns();
  shard["version"] = 2;
  shard["format"] = "mds";
  shard["compression"] = nullptr;
  shard["samples"] = samples;
  shard["raw_data"] = {{"basename", "s"}, {"bytes", raw_bytes}, {"hashes", nlohmann::json::object()}};
  if (zip_bytes != 0) {
    shard["compression"] = "zstd";
    shard["zip_data"] = {{"basename", "s"}, {"bytes", zip_bytes}, {"hashes", nlohmann::json::object()}};
  }
  return nlohmann::json{{"version", 2}, {"shards", {shard}}}.dump();
}

}  // namespace

void tar(std::string_view bytes) { read_all(MemoryStore().add("a.tar", bytes), {.format = "tar"}); }

void tar_index(std::string_view bytes) {
  const auto tar_file = TarMaker().add("1.txt", "one").add("1.npy", "array").add("2.txt", "two").finished();
  std::string index(bytes);  // its checksum is made right: it would keep all mutations from the parser
  if (index.size() >= sizeof(std::uint32_t)) {
    index.resize(index.size() - sizeof(std::uint32_t));
    index += words(crc32c(std::as_bytes(std::span(index))));
  }
  read_all(MemoryStore().add("a.tar", tar_file).add("a.tar.index", index), {.format = "tar"});
}

void mds_index(std::string_view bytes) {
  read_all(MemoryStore().add("index.json", bytes).add("s", good_mds_shard()), {.format = "mds"});
}

void mds_shard(std::string_view bytes) {
  std::uint32_t samples = 0;
  if (bytes.size() >= sizeof samples) std::memcpy(&samples, bytes.data(), sizeof samples);
  read_all(MemoryStore().add("index.json", mds_index_of(samples, bytes.size(), 0)).add("s", bytes), {.format = "mds"});
}

void mds_zstd(std::string_view bytes) {
  const auto index = mds_index_of(2, good_mds_shard().size(), bytes.size());
  read_all(MemoryStore().add("index.json", index).add("s", bytes), {.format = "mds"});
}

void tokens(std::string_view bytes) {
  for (const int width : {2, 4}) {
    read_all(MemoryStore().add("a.bin", bytes), {.format = "tokens", .tokens_per_sample = 7, .token_bytes = width});
  }
}

void manifest(std::string_view bytes) {
  read_all(MemoryStore().add("manifest.jsonl", bytes).add("a.jpg", "image"), {.format = "files"});
}

void checkpoint_manifest(std::string_view bytes) {
  // The last line is made right: it would keep all mutations from the parser.
  const std::string body = fmt::format("{}\n", bytes.substr(0, bytes.find('\n')));
  try {
    const Manifest parsed =
        parse_manifest(fmt::format("{}crc32c {:08x}\n", body, crc32c(std::as_bytes(std::span(body)))), "MANIFEST");
    const bool of_version_1 = !parsed.stored_blobs.empty();  // which is not printed any more
    if (!of_version_1 && parse_manifest(print_manifest(parsed), "MANIFEST") != parsed) std::abort();
  } catch (const Error&) {
  }
}

}  // namespace lockstep::fuzz
