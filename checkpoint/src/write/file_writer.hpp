// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "format/manifest.hpp"

namespace lockstep {

// What direct I/O aligns to, on any disk there is.
inline constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t whole_pages(std::size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

// Page-aligned memory that is kept, with its pages, from save to save.
class StagingMemory {
 public:
  StagingMemory() = default;
  StagingMemory(const StagingMemory&) = delete;
  StagingMemory& operator=(const StagingMemory&) = delete;
  ~StagingMemory();
  // At least `bytes`, rounded up to whole pages; every page is touched when it is new. Grows only: what was there is
  // lost then. Throws IoError with the bytes needed and available.
  std::span<std::byte> reserve(std::size_t bytes);

 private:
  std::span<std::byte> memory_;
};

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t bytes = 0;
};

// One file to be written. Everything it points at stays untouched until it is done.
struct WriteJob {
  struct Copy {
    std::byte* to = nullptr;  // into `image`
    const std::byte* from = nullptr;
    std::size_t bytes = 0;
  };
  std::filesystem::path path;                          // must not exist
  std::span<std::byte> image;                          // the whole file; page-aligned, readable up to whole pages
  std::vector<Copy> copies{};                          // done first, in the background
  std::vector<std::span<const std::byte>> compared{};  // then their CRC-32Cs are taken
  std::vector<ByteRange> pieces{};                     // of the image: their CRC-32Cs are wanted too
  bool read_back = false;                              // after fsync, compare what the disk holds with the CRC-32Cs
};

struct WrittenFile {
  FileRecord file;                           // its name, size and block CRCs
  std::vector<std::uint32_t> compared_crcs;  // by WriteJob::compared
  std::vector<std::uint32_t> piece_crcs;     // by WriteJob::pieces
};

// Writes one file at a time in the background by threads of its own ("lockstep-ckpt"), at the lowest CPU priority:
// copies, checksums, direct I/O (buffered where the file system has none), fsync, read-back. No MPI, no libhdf5.
class FileWriter {
 public:
  FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();  // gives up the file at work; lets go of a thread that does not come back from the disk

  void start(WriteJob job);                    // none may be at work
  void wait_until_copied();                    // `copies` and `compared` were read; at once if none is at work
  [[nodiscard]] bool copied() const noexcept;  // wait_until_copied() would not wait
  [[nodiscard]] bool done() const noexcept;    // take() would not wait
  // Written and read back, of the file at work: moves while disks do.
  [[nodiscard]] std::uint64_t bytes_done() const noexcept;
  // Somebody waits: one more thread, of the caller's priority, joins in until relax() or the file's end. They do not
  // wait.
  void hurry();
  void relax();
  WrittenFile take();  // hurries and waits. Throws IoError with the path, the failed call and errno's text

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
