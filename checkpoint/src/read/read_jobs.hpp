// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep {

// Bytes of one file that go to one place in memory.
struct ReadJob {
  std::size_t file = 0;  // index into Manifest::files
  std::uint64_t offset = 0;
  std::span<std::byte> bytes;
  const PieceRecord* whole = nullptr;  // it is all of this piece, whose CRC checks it; else blocks do
};

[[nodiscard]] const TensorRecord* find_record(const std::vector<TensorRecord>& records, std::string_view name) noexcept;

// Pure. The bytes of elements [first_element, …) of `record`, added to `jobs`. Runs of many MiB are cut if `cut`, at
// ends of blocks, so that threads can share them.
void add_jobs(const Manifest& manifest, const TensorRecord& record, std::int64_t first_element,
              std::span<std::byte> bytes, bool cut, std::vector<ReadJob>& jobs);

// Throws CheckpointError for a request that `record` (null: there is none) does not fit; `path` is the checkpoint's.
[[noreturn]] void refuse_request(const std::filesystem::path& path, const ReadRequest& request,
                                 const TensorRecord* record);

// Pure. All of `requests`, in the order in which they lie in the files. Throws as refuse_request().
[[nodiscard]] std::vector<ReadJob> plan_reads(const Manifest& manifest, const std::filesystem::path& path,
                                              std::span<const ReadRequest> requests, bool cut);

}  // namespace lockstep
