// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/comm/communicator.hpp"
#include "plan/write_plan.hpp"
#include "save/exchange.hpp"
#include "write/file_writer.hpp"
#include "write/part.hpp"

namespace lockstep {

// This rank's part of each save: its layout, kept while all ranks hold the same slices; its image in staging memory;
// and its file on the way to the disk.
class StagedPart {
 public:
  // Collective. What is to be saved next. Throws AgreedError on all ranks for contents that cannot be stored.
  void lay_out(Communicator& world, const CheckpointContents& contents);
  // Local. Of the file to come.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return layout_->part.layout.file_bytes; }
  // Local. Copies the slices of the same contents, or with `overlap` begins to, and begins to write `file`. Throws
  // IoError; also if the file of a save that was given up is still at work.
  void stage(const CheckpointContents& contents, std::filesystem::path file, bool overlap, bool read_back);
  // Local.
  void wait_until_copied() { writer_.wait_until_copied(); }
  void hurry() { writer_.hurry(); }
  [[nodiscard]] bool copied() const noexcept { return writer_.copied(); }
  [[nodiscard]] bool done() const noexcept { return !file_at_work_ || writer_.done(); }
  [[nodiscard]] std::uint64_t bytes_done() const noexcept { return writer_.bytes_done(); }
  // Local. The whole file; complete once copied().
  [[nodiscard]] std::span<std::byte> image() const noexcept { return image_; }
  [[nodiscard]] std::shared_ptr<void> memory() const noexcept { return memory_; }  // which it lies in
  // Local. Of the staged file; waits for it. Throws IoError.
  [[nodiscard]] RankReport take_report();

  // Of the save that was laid out last; without tensors.
  [[nodiscard]] const CheckpointContents& contents() const noexcept { return contents_; }
  // Local. From the reports of all ranks, by rank. Throws CheckpointError if replicas of a tensor differ, naming it and
  // the ranks.
  [[nodiscard]] Manifest manifest(std::span<const RankReport> reports) const;

 private:
  // What depends only on who holds which slices.
  struct Layout {
    std::vector<HeldSlice> held;  // by this rank
    WritePlan plan;
    Part part;
  };
  void drop_earlier_file();
  void add_copies(const CheckpointContents& contents, bool overlap, WriteJob& job) const;

  std::optional<Layout> layout_;
  CheckpointContents contents_;
  std::vector<std::uint32_t> compared_crcs_;  // by Part::compared
  std::vector<std::size_t> compared_later_;   // those that the writer takes
  std::span<std::byte> image_;
  bool file_at_work_ = false;  // given to writer_ and not taken, perhaps by a save that was given up
  std::shared_ptr<StagingMemory> memory_ = std::make_shared<StagingMemory>();
  FileWriter writer_;
};

}  // namespace lockstep
