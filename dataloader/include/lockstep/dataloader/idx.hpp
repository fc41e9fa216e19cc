// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// The content of an IDX file (the format of MNIST: http://yann.lecun.com/exdb/mnist/): big-endian header, row-major data.
struct IdxFile {
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape;  // [samples, …]
  std::vector<std::byte> bytes;     // little-endian
};

// Local. Reads a plain or gzip-compressed IDX file. Throws DataError naming the file: missing, wrong magic number,
// unknown type, shorter or longer than its header says.
[[nodiscard]] IdxFile read_idx(const std::filesystem::path& path);

}  // namespace lockstep
