// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/determinism_record.hpp"

namespace lockstep {

struct StoredTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
};

// A run of elements of a stored tensor, and where they are to go.
struct ReadRequest {
  std::string_view name;
  std::int64_t first_element = 0;
  std::span<std::byte> bytes;  // a multiple of the dtype's size
};

// A checkpoint of any schema version, written at any world size and any sharding. Opening it reads MANIFEST and looks
// at every file's size; the bytes of tensors are verified as they are read. libhdf5 is not used. Thread-safe.
class Checkpoint {
 public:
  // Local. Throws CheckpointError naming the file that is missing, of another size, damaged (MANIFEST), not a regular
  // file, or of a newer schema.
  static Checkpoint open(const std::filesystem::path& path);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  [[nodiscard]] const std::filesystem::path& path() const noexcept;
  [[nodiscard]] std::int64_t step() const noexcept;
  [[nodiscard]] int world_size() const noexcept;  // ranks that wrote it
  [[nodiscard]] std::uint64_t seed() const noexcept;
  [[nodiscard]] const DeterminismRecord& determinism() const noexcept;
  [[nodiscard]] const std::vector<std::pair<std::string, double>>& metrics() const noexcept;
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const noexcept;  // bytewise order of names
  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
  [[nodiscard]] const std::vector<std::string>& blob_names() const noexcept;
  [[nodiscard]] std::optional<std::string> blob(std::string_view name) const;  // verified
  [[nodiscard]] std::uint64_t bytes() const noexcept;                          // of all its files

  // Local. The whole of tensor `name` into `bytes`. Throws CheckpointError: no such tensor, another size, or bytes that
  // do not match their CRC-32C (naming the file and the tensor; `bytes` is then worthless).
  void read(std::string_view name, std::span<std::byte> bytes) const;
  // Local. All of them, by `threads` threads. Reads only what is asked for, and the rest of a block of 64 KiB where a
  // run begins or ends inside of a stored piece.
  void read(std::span<const ReadRequest> requests, int threads = 1) const;
  // Local. From files, since it was opened.
  [[nodiscard]] std::uint64_t bytes_read() const noexcept;

  // Local. Compares every byte of file `index` (0 … files()−1) with its CRC-32Cs. Throws CheckpointError naming the
  // file and the tensors that are hurt.
  void verify_file(std::size_t index) const;
  [[nodiscard]] std::size_t files() const noexcept;
  void verify(int threads = 1) const;  // all files

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

// Local. Scans folder/step-NNNNNNNN from the newest to the oldest and takes the first that opens and verifies. A folder
// that does not exist has no checkpoints. Changes nothing on disk. Throws CheckpointError where it cannot look (no
// permission, an I/O error, a newer schema): that is no damage, and an older checkpoint would be the wrong answer.
[[nodiscard]] CheckpointSearch find_checkpoint(const std::filesystem::path& folder, int threads = 1);

// Local. Steps of all complete checkpoints' folders, newest first, unopened.
[[nodiscard]] std::vector<std::int64_t> list_checkpoints(const std::filesystem::path& folder);

// Local. folder/step-NNNNNNNN.
[[nodiscard]] std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step);

// Local. Renames a damaged checkpoint to <name>.damaged-<unix seconds>; returns the new path.
std::filesystem::path set_aside(const std::filesystem::path& checkpoint);

}  // namespace lockstep
