// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/manifest.hpp"
#include "read/stored_file.hpp"

namespace lockstep {

inline constexpr const char* kUseAnother = "use an older checkpoint, or fetch this one again from where it was copied";

// Throws CheckpointError: bytes `first` to `last` − 1 of file `index` of the manifest do not match their CRC-32C. Names
// the tensors and blobs whose own bytes there are damaged, or "metadata".
[[noreturn]] void throw_damaged(const Manifest& manifest, std::size_t index, const StoredFile& file,
                                std::uint64_t first, std::uint64_t last);

}  // namespace lockstep
