// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/pack.hpp"

namespace lockstep {

// Where one field of one sample lies. 12 bytes, because there is one for each field of each sample.
struct TarMember {
  std::uint32_t block = 0;  // of its data, in units of 512 bytes; 0: the sample does not have the field
  std::uint32_t bytes = 0;
  std::uint32_t crc32c = 0;  // of the stored bytes, where the index has checksums
};

struct TarField {
  std::string name;  // without ".zst" and ".lz4"
  Compression compression = Compression::none;
};

// The samples of one tar file.
struct TarIndex {
  std::vector<TarField> fields{};
  std::int64_t samples = 0;
  std::vector<TarMember> members{};  // [samples, fields]
  bool checksums = false;
  std::uint32_t digest = 0;  // differs where the content does, as far as headers or checksums tell
};

// The parts of a file's name as WebDataset takes it apart.
struct TarName {
  std::string_view key;    // folder and name, up to the first dot of the latter
  std::string_view field;  // the rest, as written
};

// Nothing if the file belongs to no sample: no dot, a hidden file, or about the shard ("__about__/a.txt").
[[nodiscard]] std::optional<TarName> split_tar_name(std::string_view name);

inline constexpr const char* kTarIndexSuffix = ".index";  // of the name of the file beside the tar file
inline constexpr std::size_t kMostTarFields = 256;

// Which fields of the samples are wanted.
struct TarFieldChoice {
  std::vector<std::string> names{};  // in this order; empty: those of the first sample
  bool required = false;             // by each sample
};

// Both throw DataError naming file, byte, sample, key and field: damaged, truncated, a field twice in a sample or
// compressed in a part of them, a required one missing.
[[nodiscard]] TarIndex walk_tar(const Blob& tar, const TarFieldChoice& choice);
// The index that is stored beside the tar file.
[[nodiscard]] TarIndex read_tar_index(const Blob& stored, const Blob& tar, const TarFieldChoice& choice);

// The names of all fields in it, without a compression's suffix, in the order of their first appearance.
[[nodiscard]] std::vector<std::string> tar_fields(const Blob& tar);

// All of it, with the checksums of all fields, which are read for it.
[[nodiscard]] TarIndex index_with_checksums(const Blob& tar);
// The content of the file beside the tar file.
[[nodiscard]] std::string to_bytes(const TarIndex& index, std::uint64_t tar_bytes);

}  // namespace lockstep
