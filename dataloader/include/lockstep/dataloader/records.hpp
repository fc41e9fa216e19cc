// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace lockstep {

// One field of the samples of a data set, as it is stored.
struct StoredField {
  std::string name;  // tar: what follows the first dot of the file's name ("cam_front.jpg"); HDF5: the dataset's name
  std::string encoding;        // "raw": elements of dtype in shape; else how decode.hpp names it: "jpg", "png", "npy",
                               // "json", "tokens16", "tokens32", "bytes"
  DType dtype = DType::uint8;  // of "raw"
  std::vector<std::int64_t> shape{};  // of one sample, of "raw"; −1 first: the length differs from sample to sample

  // How the format itself says that it is delivered; what FieldOptions set counts before it.
  std::optional<DType> delivered{};
  double scale = 1.0;
  double offset = 0.0;
};

// A sample as stored: one span a field, in the order of RecordReader::fields(). Reused from sample to sample.
struct Record {
  std::vector<std::span<const std::byte>> fields;  // data() == nullptr: the sample does not have the field
  std::vector<std::byte> buffer;                   // for what had to be decompressed or gathered
  std::vector<std::shared_ptr<const void>> keeps;  // see BlobView
};

// A sample that is not what was written: checksum, framing, decoding. Costs the sample, not the run, within the budget.
class DamagedSample : public DataError {
 public:
  using DataError::DataError;
};

// The samples of a data set by number. Thread-safe after construction. A new format is one more of these.
class RecordReader {
 public:
  virtual ~RecordReader() = default;
  [[nodiscard]] virtual std::int64_t samples() const noexcept = 0;
  // The samples of each shard, in order; together samples().
  [[nodiscard]] virtual const std::vector<std::int64_t>& shard_samples() const noexcept = 0;
  // Hex digits that change when the content does, as far as the index tells (names, sizes, checksums).
  [[nodiscard]] virtual std::string fingerprint() const = 0;
  [[nodiscard]] virtual const std::vector<StoredField>& fields() const noexcept = 0;
  // Whether all that read() gives was compared with checksums, now or when its shard was first used.
  [[nodiscard]] virtual bool checksummed() const noexcept { return false; }
  // Local. Fills `record`; the spans are valid until it is filled again, while the reader lives. What carries a
  // checksum is checked here; damaged bytes are fetched again once where there is another copy. Throws DamagedSample,
  // IoError.
  virtual void read(std::int64_t sample, Record& record) const = 0;
  // Local. A hint that this sample will be read next but a few; begins to bring its bytes near and returns at once.
  virtual void prefetch(std::int64_t /*sample*/) const {}
  // "shard-00003.tar, sample 17 (key 000123)", for messages.
  [[nodiscard]] virtual std::string describe(std::int64_t sample) const = 0;
};

struct RecordOptions {
  std::string format{};  // "lockstep" (our HDF5 shards), "tar", "mds", "tokens", "idx", "hdf5", "files"; empty: told by
                         // what is there
  std::vector<std::string> files{};  // names in the store, "shard-{00000..00099}.tar" allowed; empty: the index, or all
  std::vector<std::string> fields{};   // of the sample, in this order; empty: all
  std::int64_t tokens_per_sample = 0;  // "tokens"
  int token_bytes = 2;                 // "tokens": 2 or 4, unsigned, little-endian
};

// Local. Opens a data set of any format; indexes what has no index. Throws DataError naming store and file: missing,
// not of this format, inconsistent.
[[nodiscard]] std::unique_ptr<const RecordReader> open_records(std::shared_ptr<const BlobStore> store,
                                                               const RecordOptions& options = {});

// Local. The name of the format that open_records would take. Throws as it does where nothing tells.
[[nodiscard]] std::string format_of(const BlobStore& store, const RecordOptions& options = {});

}  // namespace lockstep
