// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

enum class Compression : std::uint8_t { none, zstd, lz4 };

struct PackOptions {
  std::uint64_t shard_bytes = 1ULL << 30;       // a shard ends before it gets larger than this, or than …
  std::int64_t shard_samples = 1'000'000;       // … this; it always has one sample
  Compression compression = Compression::none;  // of each field of each sample, but jpg and png
};

struct PackedCounts {
  std::int64_t samples = 0;
  std::int64_t shards = 0;
  std::uint64_t bytes = 0;  // of the tar files or HDF5 files
};

// Told every thousand samples and at the end.
class PackProgress {
 public:
  virtual ~PackProgress() = default;
  virtual void update(std::int64_t done, std::int64_t samples) = 0;
};

// One field of a sample to write. A name is what follows the first dot of the file's name: "jpg", "cam_front.jpg".
struct FieldBytes {
  std::string_view name;
  std::span<const std::byte> bytes;
};

// Writes samples in WebDataset's layout (docs/dataset_format.md): shard-00000.tar, shard-00001.tar … with an index and
// a checksum of each field beside. Everything goes to a temporary folder beside `folder`, is fsynced and renamed by
// finish(), so that `folder` either does not exist or is complete. Not thread-safe.
class TarWriter {
 public:
  // Local. Throws UsageError if `folder` exists, IoError.
  explicit TarWriter(const std::filesystem::path& folder, const PackOptions& options = {});
  TarWriter(TarWriter&&) noexcept;
  TarWriter& operator=(TarWriter&&) noexcept;
  ~TarWriter();  // without finish(): nothing is left

  // Local. `key`: the name of the sample's files up to their first dot: "000017", "drive_3/000017". Throws UsageError:
  // a dot in the key's last part, the key of the sample before, no field, a field twice or with a name that cannot be
  // read back; IoError.
  void add(std::string_view key, std::span<const FieldBytes> fields);

  // Local. The folder is complete when this returns. Throws IoError; nothing is left then.
  PackedCounts finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Local. Writes the samples of any format as tar shards. A sample's key is its number. A field keeps its name where
// that tells its encoding, else it gets the encoding as an extension; "raw" becomes npy. Throws as TarWriter does, and
// what `from` throws.
PackedCounts pack_tar(const RecordReader& from, const std::filesystem::path& folder, const PackOptions& options = {},
                      PackProgress* progress = nullptr);

// Local. Writes samples whose fields are all "raw" with a fixed shape as `shards` HDF5 files of nearly equal size plus
// index.json, as write_shards does; integers and floats of 8 to 64 bits are delivered as float32, int64 as int64.
// Holds a few MiB, whatever the size. Throws UsageError naming the field that cannot be stored so, and as write_shards.
PackedCounts pack_hdf5(const RecordReader& from, const std::filesystem::path& folder, int shards,
                       PackProgress* progress = nullptr);

// Local. Writes the index with checksums beside a tar file that has none, or anew; it is to be good now. Throws
// DataError naming the file and what is wrong in it, IoError.
void index_tar(const std::filesystem::path& tar);

struct DamagedRecord {
  std::int64_t sample = 0;
  std::string description;  // RecordReader::describe
  std::string why;
};

struct VerifyReport {
  std::int64_t samples = 0;            // read, good or not
  std::uint64_t bytes = 0;             // of the good ones, as delivered to the decoders
  std::int64_t damaged = 0;            // all of them …
  std::vector<DamagedRecord> first{};  // … and the first thousand
};

// Local. Reads every sample and says which ones are damaged: what has a checksum is checked, what has none is only
// read. Throws IoError where something cannot be read at all.
[[nodiscard]] VerifyReport verify(const RecordReader& reader, PackProgress* progress = nullptr);

}  // namespace lockstep
