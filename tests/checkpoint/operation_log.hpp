// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/shim/file_shim.hpp"

namespace lockstep::testing {

// A call that file_shim recorded.
struct Operation {
  shim::Kind kind = shim::Kind::note;
  std::string path{};
  std::string other_path{};
  std::uint64_t began_at = 0;  // calls whose `at` is smaller had returned when it began
  std::uint64_t at = 0;
  std::int64_t offset = 0;
  std::uint64_t length = 0;
  std::vector<std::byte> bytes{};  // of a write
};

// In the order in which they returned. Throws std::runtime_error for a log that file_shim did not write.
[[nodiscard]] std::vector<Operation> read_operations(const std::filesystem::path& log);

}  // namespace lockstep::testing
