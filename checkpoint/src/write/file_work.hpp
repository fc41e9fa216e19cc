// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "write/file_writer.hpp"
#include "write/output_file.hpp"

namespace lockstep {

// CRC-32Cs of its blocks of kBlockBytes, the last of which may be shorter.
[[nodiscard]] std::vector<std::uint32_t> block_crcs(std::span<const std::byte> bytes);

// One file on its way to the disk; shared by the threads that bring it there and the one that waits for them.
class FileWork {
 public:
  // `buffer`: to read back.
  FileWork(WriteJob job, std::shared_ptr<StagingMemory> buffer);

  void run() noexcept;  // all of it, on the writer's thread and one more
  // Helps to copy: the writer's threads have a low priority, and the caller waits for them.
  void wait_until_copied();
  [[nodiscard]] bool copied() const noexcept { return looks_done_ == looks_.size() || done_ || stop_; }
  // From here to relax() there is a hurry. True: one more thread is wanted, and is to call join_in(), which takes its
  // share of what is left to copy, to sum and to write, as long as there is a hurry.
  [[nodiscard]] bool hurry() noexcept;
  void join_in() noexcept;
  void leave() noexcept;  // join_in() is over, or will not be called
  void relax() noexcept;
  [[nodiscard]] bool done() const noexcept { return done_ && !is_joined_; }
  [[nodiscard]] std::uint64_t bytes_done() const noexcept { return bytes_done_; }
  WrittenFile result();  // once done; throws what run() met
  // Stops at the next piece. Whatever it returns, the job's memory is not touched any more; false: a thread is still
  // waiting for the disk.
  bool give_up() noexcept;

 private:
  // A part of a copy or of a comparison, small enough to share out.
  struct Look {
    std::byte* to = nullptr;  // none: only the CRC is wanted
    const std::byte* from = nullptr;
    std::size_t bytes = 0;
    std::size_t compared = 0;
    std::uint32_t crc = 0;
  };
  class MemoryUse;

  void add_looks(Look whole);
  template <class Stage>
  void on_two_threads(std::size_t items, Stage&& stage);
  void look();
  void take_crcs_of_compared();
  void write_file();
  [[nodiscard]] bool write_piece();
  void sum(std::size_t runs);
  template <class Condition>
  void wait_until(Condition&& condition);
  void fail() noexcept;
  void take_crcs_of_pieces();
  [[nodiscard]] std::uint32_t crc_of(ByteRange piece) const;
  void read_back(OutputFile& file);

  WriteJob job_;
  std::shared_ptr<StagingMemory> buffer_;
  std::vector<Look> looks_;
  WrittenFile written_;
  std::unique_ptr<OutputFile> file_;  // set before is_open_

  std::atomic<std::size_t> next_look_ = 0;
  std::atomic<std::size_t> looks_done_ = 0;
  std::atomic<std::size_t> next_sum_ = 0;  // runs of kSumBytes of the image
  std::atomic<std::size_t> sums_done_ = 0;
  std::atomic<std::size_t> next_piece_ = 0;  // of kWriteBytes of the image
  std::atomic<std::size_t> pieces_done_ = 0;
  std::atomic<std::size_t> next_byte_ = 0;    // to read back
  std::atomic<std::size_t> next_buffer_ = 0;  // a thread's part of `buffer_`
  std::atomic<std::uint64_t> bytes_done_ = 0;
  std::atomic<int> memory_users_ = 0;
  std::atomic<bool> is_open_ = false;
  std::atomic<bool> hurry_ = false;
  std::atomic<bool> is_joined_ = false;  // join_in() is at work, or will be
  std::atomic<bool> stop_ = false;
  std::atomic<bool> done_ = false;
  std::mutex mutex_;
  std::exception_ptr error_;       // the first; guarded by mutex_
  std::condition_variable moved_;  // of what is atomic, too
};

}  // namespace lockstep
