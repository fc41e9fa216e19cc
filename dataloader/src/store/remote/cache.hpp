// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/file.hpp"

namespace lockstep::remote {

inline constexpr std::uint64_t kPieceBytes = 4U << 20U;  // blobs are fetched and kept in pieces of this many bytes

// A piece in memory: a mapped file of the cache, which stays as long as this lives, or bytes that found no place there.
class Piece {
 public:
  Piece(FileDescriptor pin, std::size_t file_bytes);  // Throws IoError.
  explicit Piece(std::vector<std::byte> loose) noexcept : loose_(std::move(loose)), bytes_(loose_) {}
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;
  ~Piece();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }  // without the footer
  [[nodiscard]] ino_t file() const noexcept { return file_; }                         // 0: not in the cache
  [[nodiscard]] bool intact() const noexcept;  // reads all of it; the bytes are those that were written

 private:
  const FileDescriptor pin_;  // with a shared flock, so that no process drops the file
  const std::vector<std::byte> loose_;
  std::span<const std::byte> mapped_;
  std::span<const std::byte> bytes_;
  ino_t file_ = 0;
};

// The right to fetch one piece, which one process of a host has at a time, and the room for it in the cache.
class Claim {
 public:
  enum class Kind { mine, others, no_room };
  Claim() noexcept = default;
  Claim(Claim&& other) noexcept = default;
  Claim& operator=(Claim&& other) = delete;
  ~Claim();  // A claim of ours that was not kept is given up.

  [[nodiscard]] Kind kind() const noexcept { return kind_; }

 private:
  friend class Cache;
  Kind kind_ = Kind::no_room;
  FileDescriptor file_;  // with an exclusive flock
  std::filesystem::path path_;
};

// Pieces of remote blobs in a folder, shared by the processes of a host and never over its limit. Each piece is a file
// of its own, written under another name and renamed; a footer holds its CRC-32C. Whoever has one mapped holds a shared
// flock on it and is so passed over when room is made, oldest first. What a killed process was writing is not locked
// any more, and is removed by the next that makes room or opens the cache. Thread-safe.
class Cache {
 public:
  // Throws IoError if the folder cannot be made or written, UsageError for a limit below one piece.
  Cache(const std::filesystem::path& folder, std::uint64_t limit);

  // The piece, if it is here and undamaged. `known_good`: the file that this process need not check again.
  [[nodiscard]] std::shared_ptr<const Piece> find(const std::string& name, std::uint64_t bytes, ino_t known_good);
  [[nodiscard]] bool has(const std::string& name) const;
  [[nodiscard]] Claim claim(const std::string& name, std::uint64_t bytes);
  // Writes what was fetched under `claim`. Without room, or when the disk fails, the piece is a loose one.
  [[nodiscard]] std::shared_ptr<const Piece> keep(const std::string& name, Claim claim, std::vector<std::byte> bytes);
  void drop(const std::string& name);
  // Keeps the last few that were used mapped, for the next view of them.
  void remember(std::shared_ptr<const Piece> piece);
  [[nodiscard]] std::uint64_t pieces() const noexcept { return limit_ / kPieceBytes; }  // how many there is room for

  // Pieces that this process has fetched ahead and not used. With more of them than an eighth of the cache, what is
  // used would push out what is not used yet.
  [[nodiscard]] bool may_go_ahead() const noexcept { return ahead_ < std::max<std::uint64_t>(pieces() / 8, 1); }
  void count_ahead() noexcept { ++ahead_; }
  void count_used() noexcept { --ahead_; }

 private:
  class Locked;
  [[nodiscard]] bool reserve(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t make_room(std::uint64_t allowed);
  void note_taken(std::uint64_t bytes);
  [[nodiscard]] std::filesystem::path path_of(const std::string& name) const;

  const std::filesystem::path folder_;
  const std::uint64_t limit_;
  FileDescriptor lock_file_;  // holds how many bytes are taken, rather too many than too few
  std::mutex mutex_;          // flock does not tell threads apart
  std::atomic<std::uint64_t> ahead_ = 0;
  std::mutex remembered_mutex_;
  std::deque<std::shared_ptr<const Piece>> remembered_;  // guarded by it
};

}  // namespace lockstep::remote
