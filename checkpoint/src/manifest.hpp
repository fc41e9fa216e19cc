// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/contents.hpp"

namespace lockstep {

inline constexpr std::uint64_t kSchemaVersion = 1;
inline constexpr const char* kManifestName = "MANIFEST";
inline constexpr std::string_view kBlobFolder = "/blobs/";

// Where one dataset's bytes lie in the payload file. Tensors and blobs alike; a blob is a row of uint8.
struct DatasetRecord {
  std::string name{};  // its path in the HDF5 file: "/model/conv1.weight", "/blobs/loader"
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape{};
  std::uint64_t offset = 0;  // 0 when it has no bytes
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
  friend bool operator==(const DatasetRecord&, const DatasetRecord&) = default;
};

// The HDF5 file and the CRC-32C of each of its blocks: every byte of it, payload and libhdf5's metadata.
struct PayloadRecord {
  std::string file = "state.h5";
  std::uint64_t bytes = 0;
  std::uint64_t block_bytes = 4 << 20;
  std::vector<std::uint32_t> block_crcs{};
  friend bool operator==(const PayloadRecord&, const PayloadRecord&) = default;
};

// What the file MANIFEST says (docs/checkpoint_format.md).
struct Manifest {
  std::string lockstep{};  // the version that wrote it
  std::int64_t step = 0;
  int world_size = 1;
  std::uint64_t seed = 0;
  DeterminismRecord determinism{};
  std::vector<DatasetRecord> tensors{};  // bytewise order of names
  std::vector<DatasetRecord> blobs{};    // the same
  PayloadRecord payload{};
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// One line of JSON and a last line with the CRC-32C of all bytes before it.
// Throws UsageError if a name is not UTF-8, which JSON requires.
[[nodiscard]] std::string print_manifest(const Manifest& manifest);

// The inverse. `origin` is the file's path, for messages. Believes nothing: a manifest that passes has plain file
// names, ranges within the payload file, and sizes that agree with dtypes and shapes. Throws CheckpointError.
[[nodiscard]] Manifest parse_manifest(std::string_view text, const std::filesystem::path& origin);

// "/a/b": begins with a slash, no part is empty, "." or "..", and no control characters.
[[nodiscard]] bool is_dataset_name(std::string_view name);
// "/blobs" and all below it, which tensors must not use.
[[nodiscard]] bool is_blob_name(std::string_view name);

// Nothing if a dimension is negative or the product passes 2^63.
[[nodiscard]] std::optional<std::uint64_t> bytes_of(DType dtype, std::span<const std::int64_t> shape);

}  // namespace lockstep
