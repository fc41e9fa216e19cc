// SPDX-License-Identifier: Apache-2.0
#include "write/file_work.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <system_error>
#include <thread>
#include <utility>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using std::chrono_literals::operator""s;

constexpr std::size_t kLookBytes = 1 << 20;
constexpr std::size_t kSumBytes = 1 << 20;
static_assert(kSumBytes % kBlockBytes == 0);
constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
// Measured, 1 GiB on ext4, medians of 6 alternating rounds in GB/s: one thread 1.83, one with fallocate 1.86, two with
// fallocate and pieces of 4, 8 and 16 MiB 2.02, 2.08 and 2.03, io_uring with two of 8 MiB in flight 2.06. Two threads
// without fallocate are slower than one: each write that makes the file longer locks it.
constexpr std::size_t kWriteBytes = 8 << 20;
constexpr std::size_t kReadBytes = 2 << 20;
constexpr auto kPatience = 10s;

std::size_t count_of(std::size_t bytes, std::size_t each) { return (bytes + each - 1) / each; }

}  // namespace

std::vector<std::uint32_t> block_crcs(std::span<const std::byte> bytes) {
  std::vector<std::uint32_t> crcs;
  crcs.reserve(count_of(bytes.size(), kBlockBytes));
  for (; !bytes.empty(); bytes = bytes.subspan(std::min<std::size_t>(kBlockBytes, bytes.size()))) {
    crcs.push_back(crc32c(bytes.first(std::min<std::size_t>(kBlockBytes, bytes.size()))));
  }
  return crcs;
}

// While one lives, give_up() waits; none can begin after it.
class FileWork::MemoryUse {
 public:
  explicit MemoryUse(FileWork& work) : work_(work) { ++work_.memory_users_; }
  MemoryUse(const MemoryUse&) = delete;
  MemoryUse& operator=(const MemoryUse&) = delete;
  ~MemoryUse() { --work_.memory_users_; }
  [[nodiscard]] explicit operator bool() const noexcept { return !work_.stop_; }

 private:
  FileWork& work_;
};

FileWork::FileWork(WriteJob job, std::shared_ptr<StagingMemory> buffer)
    : job_(std::move(job)), buffer_(std::move(buffer)) {
  for (const auto& [to, from, bytes] : job_.copies) add_looks({.to = to, .from = from, .bytes = bytes});
  for (std::size_t i = 0; i < job_.compared.size(); ++i) {
    add_looks({.from = job_.compared[i].data(), .bytes = job_.compared[i].size(), .compared = i});
  }
  written_.file = {.name = job_.path.filename().string(),
                   .bytes = job_.image.size(),
                   .block_crcs = std::vector<std::uint32_t>(count_of(job_.image.size(), kBlockBytes))};
  written_.compared_crcs.resize(job_.compared.size());
}

void FileWork::add_looks(Look whole) {
  for (std::size_t at = 0; at < whole.bytes; at += kLookBytes) {
    Look part = whole;
    if (part.to != nullptr) part.to += at;
    part.from += at;
    part.bytes = std::min(kLookBytes, whole.bytes - at);
    looks_.push_back(part);
  }
}

// Runs `stage` here and, if there is enough to do, on a second thread. A failure of one stops the other.
template <class Stage>
void FileWork::on_two_threads(std::size_t items, Stage&& stage) {
  std::exception_ptr errors[2];
  const auto guarded = [&](std::exception_ptr& error) {
    try {
      stage();
    } catch (...) {
      error = std::current_exception();
      stop_ = true;
    }
  };
  std::thread helper;
  try {
    if (items > 1) helper = std::thread(guarded, std::ref(errors[1]));
  } catch (const std::system_error&) {  // no more threads for this user: then alone
  }
  guarded(errors[0]);
  if (helper.joinable()) helper.join();
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

// In a catch block: keeps the first failure and stops all threads.
void FileWork::fail() noexcept {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::current_exception();
  stop_ = true;
  moved_.notify_all();
}

void FileWork::run() noexcept {
  try {
    on_two_threads(looks_.size(), [this] { look(); });
    wait_until_copied();
    if (!stop_) take_crcs_of_compared();
    if (!stop_) write_file();
  } catch (...) {
    fail();
  }
  const std::lock_guard lock(mutex_);
  done_ = true;
  moved_.notify_all();
}

bool FileWork::hurry() noexcept {
  hurry_ = true;
  return !done_ && !is_joined_.exchange(true);
}

void FileWork::join_in() noexcept {
  try {
    look();
    wait_until([this] { return is_open_ || done_ || !hurry_; });
    while (is_open_ && hurry_ && write_piece()) {
    }
  } catch (...) {
    fail();
  }
  leave();
}

void FileWork::leave() noexcept {
  const std::lock_guard lock(mutex_);
  is_joined_ = false;
  moved_.notify_all();
}

void FileWork::relax() noexcept {
  const std::lock_guard lock(mutex_);
  hurry_ = false;
  moved_.notify_all();
}

template <class Condition>
void FileWork::wait_until(Condition&& condition) {
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [&] { return condition() || stop_; });
}

void FileWork::look() {
  for (;;) {
    const std::size_t i = next_look_++;
    if (i >= looks_.size()) return;
    const MemoryUse memory(*this);
    if (!memory) return;
    Look& look = looks_[i];
    if (look.to != nullptr) {
      std::memcpy(look.to, look.from, look.bytes);
    } else {
      look.crc = crc32c({look.from, look.bytes});
    }
    if (++looks_done_ < looks_.size()) continue;
    const std::lock_guard lock(mutex_);
    moved_.notify_all();
  }
}

void FileWork::wait_until_copied() {
  look();
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [this] { return copied(); });
}

void FileWork::take_crcs_of_compared() {
  for (const Look& look : looks_) {
    if (look.to != nullptr) continue;
    std::uint32_t& crc = written_.compared_crcs[look.compared];
    crc = crc32c_joined(crc, look.crc, look.bytes);
  }
}

void FileWork::write_file() {
  file_ = std::make_unique<OutputFile>(job_.path);
  file_->allocate(whole_pages(job_.image.size()));
  {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    moved_.notify_all();
  }
  const std::size_t pieces = count_of(job_.image.size(), kWriteBytes);
  on_two_threads(pieces, [this] {
    while (write_piece()) {
    }
  });
  sum(kAll);
  wait_until([&] { return pieces_done_ == pieces && sums_done_ == count_of(job_.image.size(), kSumBytes); });
  if (stop_) return;
  take_crcs_of_pieces();
  file_->finish(job_.image.size());
  if (!job_.read_back) return;
  buffer_->reserve(2 * kReadBytes);
  on_two_threads(count_of(job_.image.size(), kReadBytes), [&] { read_back(*file_); });
}

// The next one; false: there is none.
bool FileWork::write_piece() {
  const std::size_t first = next_piece_++ * kWriteBytes;
  if (first >= job_.image.size()) return false;
  const std::size_t bytes = std::min(kWriteBytes, job_.image.size() - first);
  sum(kWriteBytes / kSumBytes);  // while the other threads wait for the disk
  if (stop_) return false;
  file_->write(first, {job_.image.data() + first, whole_pages(bytes)});
  bytes_done_ += bytes;
  ++pieces_done_;
  const std::lock_guard lock(mutex_);
  moved_.notify_all();
  return true;
}

// Takes the CRC-32Cs of up to so many runs of blocks.
void FileWork::sum(std::size_t runs) {
  const std::size_t all = count_of(job_.image.size(), kSumBytes);
  for (; runs > 0; --runs) {
    const std::size_t i = next_sum_++;
    if (i >= all) return;
    const MemoryUse memory(*this);
    if (!memory) return;
    const std::size_t first = i * kSumBytes;
    const auto run = job_.image.subspan(first, std::min(kSumBytes, job_.image.size() - first));
    std::ranges::copy(block_crcs(run),
                      written_.file.block_crcs.begin() + static_cast<std::ptrdiff_t>(first / kBlockBytes));
    if (++sums_done_ < all) continue;
    const std::lock_guard lock(mutex_);
    moved_.notify_all();
  }
}

void FileWork::take_crcs_of_pieces() {
  const MemoryUse memory(*this);
  if (!memory) return;
  written_.piece_crcs.reserve(job_.pieces.size());
  for (const ByteRange& piece : job_.pieces) written_.piece_crcs.push_back(crc_of(piece));
}

// Only its ends are read again: between them are blocks whose CRC-32Cs are known.
std::uint32_t FileWork::crc_of(ByteRange piece) const {
  std::uint32_t crc = 0;
  for (std::uint64_t at = piece.first, end = piece.first + piece.bytes; at < end;) {
    const std::uint64_t bytes = std::min(kBlockBytes - at % kBlockBytes, end - at);
    crc = bytes == kBlockBytes ? crc32c_joined(crc, written_.file.block_crcs[at / kBlockBytes], bytes)
                               : crc32c(job_.image.subspan(at, bytes), crc);
    at += bytes;
  }
  return crc;
}

void FileWork::read_back(OutputFile& file) {
  const auto buffer = buffer_->reserve(2 * kReadBytes).subspan(next_buffer_++ * kReadBytes, kReadBytes);
  for (;;) {
    const std::size_t first = next_byte_.fetch_add(kReadBytes);
    if (first >= written_.file.bytes || stop_) return;
    const std::size_t bytes = std::min<std::size_t>(kReadBytes, written_.file.bytes - first);
    file.read(first, buffer, bytes);
    for (std::size_t at = 0; at < bytes; at += kBlockBytes) {
      const std::size_t block = (first + at) / kBlockBytes;
      const auto stored = buffer.subspan(at, std::min<std::size_t>(kBlockBytes, bytes - at));
      if (crc32c(stored) == written_.file.block_crcs[block]) continue;
      throw IoError({.what = fmt::format("read back {}", job_.path.string()),
                     .why = fmt::format("the disk does not hold what was written: block {} (bytes {} to {}) differs",
                                        block, first + at, first + at + stored.size() - 1),
                     .fix = "leave the tensors alone while they are saved; else look for a failing disk or memory"});
    }
    bytes_done_ += bytes;
  }
}

WrittenFile FileWork::result() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  return std::move(written_);
}

bool FileWork::give_up() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    moved_.notify_all();
  }
  while (memory_users_ > 0) std::this_thread::yield();
  std::unique_lock lock(mutex_);
  return moved_.wait_for(lock, kPatience, [this] { return done(); });
}

}  // namespace lockstep
