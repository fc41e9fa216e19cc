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
