// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/determinism_record.hpp"

namespace lockstep {

struct StoredTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
};

// A checkpoint whose manifest and every block of bytes were verified when it was opened.
class Checkpoint {
 public:
  // Local. Throws CheckpointError naming the file (and tensor) that is missing, short or does not match its CRC-32C.
  static Checkpoint open(const std::filesystem::path& path);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  [[nodiscard]] const std::filesystem::path& path() const noexcept;
  [[nodiscard]] std::int64_t step() const noexcept;
  [[nodiscard]] int world_size() const noexcept;
  [[nodiscard]] std::uint64_t seed() const noexcept;
  [[nodiscard]] const DeterminismRecord& determinism() const noexcept;
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const noexcept;  // bytewise order of names
  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
  [[nodiscard]] std::optional<std::string> blob(std::string_view name) const;

  // Local. The whole of tensor `name` into `bytes`. Throws CheckpointError: no such tensor, or another size.
  void read(std::string_view name, std::span<std::byte> bytes) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct DamagedCheckpoint {
  std::filesystem::path path;
  std::string reason;
};

struct CheckpointSearch {
  std::optional<Checkpoint> newest_good;
  std::vector<DamagedCheckpoint> damaged;  // newer than newest_good (all, if there is none), newest first
};

// Local. Scans folder/step-NNNNNNNN from the newest to the oldest and opens the first that verifies. A folder that does
// not exist has no checkpoints. Changes nothing on disk.
[[nodiscard]] CheckpointSearch find_checkpoint(const std::filesystem::path& folder);

// Local. Renames a damaged checkpoint to <name>.damaged-<unix seconds>; returns the new path.
std::filesystem::path set_aside(const std::filesystem::path& checkpoint);

}  // namespace lockstep
