// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

// What open_records chooses from; each in the file of its name.
[[nodiscard]] std::unique_ptr<const RecordReader> open_tar(std::shared_ptr<const BlobStore> store,
                                                           const RecordOptions& options);

[[nodiscard]] std::unique_ptr<const RecordReader> open_files(std::shared_ptr<const BlobStore> store,
                                                             const RecordOptions& options);
[[nodiscard]] bool has_manifest(const BlobStore& store);  // of "files"

// The folder that docs/dataset_format.md describes: index.json and HDF5 shards, each with a checksum, checked at its
// first use.
[[nodiscard]] std::unique_ptr<const RecordReader> open_lockstep(std::shared_ptr<const BlobStore> store,
                                                                const RecordOptions& options);

// MosaicML's shards: index.json of version 2 and *.mds or *.mds.zstd. A shard is checked at its first use: against the
// hashes that the index gives, if they are of an algorithm that OpenSSL has, and for its form. A column without a dtype
// of ours (arrays whose shape differs, unsigned numbers over 8 bits) is handed on as npy.
[[nodiscard]] std::unique_ptr<const RecordReader> open_mds(std::shared_ptr<const BlobStore> store,
                                                           const RecordOptions& options);

// Flat files of token ids, unsigned and little-endian, *.bin: without a header (nanoGPT's train.bin; the width is
// options.token_bytes) or with llm.c's, which is told by its magic number and knows the width. Sample i of a file is
// the tokens_per_sample + 1 ids from i · tokens_per_sample on, input and shifted target in one; what is left at the end
// of a file is dropped, samples do not cross files. One field, "tokens", of encoding "tokens16" or "tokens32".
// There are no checksums: a flipped bit in a token is another token. Throws UsageError for options out of range.
[[nodiscard]] std::unique_ptr<const RecordReader> open_tokens(std::shared_ptr<const BlobStore> store,
                                                              const RecordOptions& options);

// A pair of IDX files as MNIST and its kin come, NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte, with or without
// .gz, read whole into memory: fields "data" and "target". Where a folder holds several pairs (train, t10k),
// options.files names the images to use; each is a shard. Local folders only.
[[nodiscard]] std::unique_ptr<const RecordReader> open_idx(std::shared_ptr<const BlobStore> store,
                                                           const RecordOptions& options);

// Any HDF5 files; a field is a dataset whose first dimension counts the samples: those in options.fields, or all in the
// root group. Contiguous ones are mapped; chunked or filtered ones, of local files only, go through libhdf5, one thread
// at a time. libhdf5 is not hardened against damaged files: data from elsewhere are better packed once.
[[nodiscard]] std::unique_ptr<const RecordReader> open_hdf5(std::shared_ptr<const BlobStore> store,
                                                            const RecordOptions& options);

// "shard-{00000..00002}.tar" as the three names it stands for; several ranges: all combinations, the last one fastest.
// A pattern without a range is one name. Throws UsageError: a range that is none, or more than a million names.
[[nodiscard]] std::vector<std::string> expand_braces(std::string_view pattern);

// The names that options.files stands for; if it is empty, all in the store that end in `suffix` (".tar").
// Throws DataError if there is none.
[[nodiscard]] std::vector<std::string> data_files(const BlobStore& store, const RecordOptions& options,
                                                  std::string_view suffix);

// What decode.hpp calls the content of a file with this name, told by its last extension: "jpg", "png", "npy", "json";
// "bytes" for all others.
[[nodiscard]] std::string encoding_of(std::string_view name);

}  // namespace lockstep
