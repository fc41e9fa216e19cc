// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "failure.hpp"
#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/determinism_record.hpp"

namespace lockstep {

inline constexpr std::uint64_t kSchemaVersion = 2;
inline constexpr const char* kManifestName = "MANIFEST";
inline constexpr const char* kIndexName = "index.h5";
inline constexpr std::string_view kBlobFolder = "/blobs/";
inline constexpr std::uint64_t kBlockBytes = 64 << 10;  // of version 2; a file's CRC-32Cs are over blocks of so much

// A run of a tensor's elements in a file.
struct PieceRecord {
  std::size_t file = 0;      // index into Manifest::files
  std::uint64_t offset = 0;  // of its first byte in the file
  std::int64_t first_element = 0;
  std::int64_t elements = 0;  // never 0
  std::uint32_t crc = 0;      // CRC-32C of its bytes
  friend bool operator==(const PieceRecord&, const PieceRecord&) = default;
};

struct TensorRecord {
  std::string name{};  // its path in index.h5: "/model/conv1.weight"
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape{};
  std::vector<PieceRecord> pieces{};  // ascending; they cover the tensor without gap or overlap; none if it is empty
  friend bool operator==(const TensorRecord&, const TensorRecord&) = default;
};

// A file and the CRC-32C of each of its blocks: every byte of it, payload and libhdf5's metadata.
struct FileRecord {
  std::string name{};  // plain: "rank-00003.h5", "index.h5"
  std::uint64_t bytes = 0;
  std::vector<std::uint32_t> block_crcs{};
  friend bool operator==(const FileRecord&, const FileRecord&) = default;
};

// A checkpoint of a schema that this lockstep does not know: not damaged.
class NewerSchema : public CannotLook {
 public:
  using CannotLook::CannotLook;
};

// What the file MANIFEST says (docs/checkpoint_format.md).
struct Manifest {
  std::string lockstep{};  // the version that wrote it
  std::int64_t step = 0;
  int world_size = 1;
  std::uint64_t seed = 0;
  DeterminismRecord determinism{};
  std::vector<std::pair<std::string, double>> metrics{};     // finite; bytewise order of names
  std::vector<TensorRecord> tensors{};                       // bytewise order of names
  std::vector<std::pair<std::string, std::string>> blobs{};  // texts in UTF-8 by name ("loader"), bytewise order
  std::vector<TensorRecord> stored_blobs{};  // of version 1 only: rows of uint8 in its file, at "/blobs/<name>"
  std::uint64_t block_bytes = kBlockBytes;
  std::vector<FileRecord> files{};  // rank-00000.h5 …, then index.h5
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// One line of JSON and a last line with the CRC-32C of all bytes before it. At most 200 bytes a tensor besides its
// name. Throws UsageError if a name or a blob is not UTF-8, which JSON requires.
[[nodiscard]] std::string print_manifest(const Manifest& manifest);

// The inverse, of every schema version there was: version 1 had one file and no pieces. `origin` is the file's path,
// for messages. Believes nothing: a manifest that passes has plain file names, ranges within the files, pieces that
// cover their tensors, and sizes that agree with dtypes and shapes. Throws CheckpointError; NewerSchema.
[[nodiscard]] Manifest parse_manifest(std::string_view text, const std::filesystem::path& origin);

// "/a/b": begins with a slash, no part is empty, "." or "..", and no control characters.
[[nodiscard]] bool is_dataset_name(std::string_view name);
// "/blobs" and all below it, which tensors must not use.
[[nodiscard]] bool is_blob_name(std::string_view name);

// Nothing if a dimension is negative or the product passes 2^63.
[[nodiscard]] std::optional<std::uint64_t> bytes_of(DType dtype, std::span<const std::int64_t> shape);

}  // namespace lockstep
