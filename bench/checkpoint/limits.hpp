// SPDX-License-Identifier: Apache-2.0
// What the machine can do at most with the bytes of a state: all in seconds, all alone on the machine.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace bench {

using Bytes = std::span<const std::byte>;

// One thread's memcpy of these pieces, in order, to memory that was touched before (of 1 GiB at most, again and again).
double memcpy_seconds(std::span<const Bytes> pieces);

// `bytes` (page-aligned, whole pages) into a new file of `folder`, durable: its fsync and that of the folder count. The
// file is removed afterwards.
struct DurableWrite {
  double one_thread = 0;   // O_DIRECT, 8 MiB at a time, behind each other
  double two_threads = 0;  // the same, into space that fallocate took
  [[nodiscard]] double best() const { return one_thread < two_threads ? one_thread : two_threads; }
};
DurableWrite durable_write_seconds(const std::filesystem::path& folder, Bytes bytes);
double buffered_write_seconds(const std::filesystem::path& folder, Bytes bytes);

}  // namespace bench
