// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <span>

#include "lockstep/comm/communicator.hpp"
#include "write/file_writer.hpp"

namespace lockstep {

// Bytes on their way from one rank to another, in pieces. All are begun at once: both ranks begin at the same point of
// their collectives, so that neither can wait for a piece that the other does not come to.
class PieceMessages {
 public:
  // Local. None may be under way. `owner` keeps the memory: after a failure a message may still come into it.
  void send(Communicator& world, int to, std::span<std::byte> bytes, const std::shared_ptr<void>& owner);
  void receive(Communicator& world, int from, std::span<std::byte> bytes, const std::shared_ptr<void>& owner);
  // Local. Moves them on without waiting. Throws CommError.
  [[nodiscard]] bool done();
  [[nodiscard]] std::size_t left() const noexcept { return works_.size(); }

 private:
  std::deque<Work> works_;
};

// The copy that this rank holds of another one's file.
class PartnerCopy {
 public:
  explicit PartnerCopy(int origin) : origin_(origin) {}

  [[nodiscard]] int origin() const noexcept { return origin_; }
  // Local. Memory for the file. Throws IoError, also if the copy of a save that was given up is still at work.
  void reserve(std::uint64_t bytes);
  // Local. Begins to receive, and then to write `file`.
  void begin(Communicator& world, std::filesystem::path file);
  // Local. Throws CommError; IoError if writing cannot begin, once.
  void advance();
  [[nodiscard]] bool receives() const noexcept { return messages_.left() > 0; }
  void hurry() { writer_.hurry(); }
  // Local. No file is at work.
  [[nodiscard]] bool written() const noexcept { return !file_at_work_ || writer_.done(); }
  // Local. A number that changes while it moves.
  [[nodiscard]] std::uint64_t moved() const noexcept { return writer_.bytes_done() + messages_.left(); }
  // Local. Of the file that was begun; waits for it. Throws IoError.
  [[nodiscard]] FileRecord take();

 private:
  int origin_;
  std::filesystem::path file_;  // empty: being written, or none
  std::span<std::byte> image_;
  bool file_at_work_ = false;
  std::shared_ptr<StagingMemory> memory_ = std::make_shared<StagingMemory>();
  PieceMessages messages_;
  FileWriter writer_;
};

}  // namespace lockstep
