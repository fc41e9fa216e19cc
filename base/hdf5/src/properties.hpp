// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/hdf5/handle.hpp"

// The property lists of files that we write or read. The caller holds lock(); `subject` names the file in errors.
namespace lockstep::hdf5 {

// How libhdf5 spreads things over a file.
struct Spread {
  std::uint64_t alignment = 4096;            // of datasets of 64 KiB and more: what O_DIRECT and mmap ask for
  std::uint64_t metadata_block = 1U << 20U;  // metadata lie together in blocks of so many bytes
};

// Format bounds 1.8 … 1.10, no file locks.
[[nodiscard]] Handle access_properties(const Spread& spread, const std::string& subject);
// No time stamps in what these make: the same data, the same bytes.
[[nodiscard]] Handle file_properties(const std::string& subject);
[[nodiscard]] Handle group_properties(const std::string& subject);
[[nodiscard]] Handle dataset_properties(const std::string& subject);     // of no layout yet
[[nodiscard]] Handle contiguous_properties(const std::string& subject);  // allocated at once, never filled
// Names are UTF-8; groups on the way are made.
[[nodiscard]] Handle link_properties(const std::string& subject);

}  // namespace lockstep::hdf5
