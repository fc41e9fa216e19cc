// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep {

// A file that gets its name when it is complete and durable; until then, and if it never is, `name`.tmp-… All methods
// throw IoError.
class ExportFile {
 public:
  explicit ExportFile(std::filesystem::path name);  // mode 0600
  ExportFile(const ExportFile&) = delete;
  ExportFile& operator=(const ExportFile&) = delete;
  ~ExportFile();

  void append(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  // Where it is now, for a library that writes by itself: over what is there.
  [[nodiscard]] const std::filesystem::path& temporary() const noexcept { return temporary_; }
  void finish();

 private:
  std::filesystem::path name_;
  std::filesystem::path temporary_;
  FileDescriptor descriptor_;
  std::uint64_t position_ = 0;
};

struct ExportedTensor {
  std::string name;  // in the exported file
  const StoredTensor* stored = nullptr;
  std::uint64_t bytes = 0;
};

// Calls use(tensor, bytes) for one after the other: only one is in memory.
template <typename Use>
void for_each_tensor(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, const Use& use) {
  std::vector<std::byte> buffer;
  for (const ExportedTensor& tensor : tensors) {
    buffer.resize(tensor.bytes);
    checkpoint.read(tensor.stored->name, buffer);
    use(tensor, std::span<const std::byte>(buffer));
  }
}

// `tensors` in bytewise order of names.
void write_safetensors(const Checkpoint& checkpoint, std::vector<ExportedTensor> tensors, ExportFile& file);
void write_torch(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, ExportFile& file);
void write_hdf5(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, ExportFile& file);

}  // namespace lockstep
