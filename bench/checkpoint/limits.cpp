// SPDX-License-Identifier: Apache-2.0
#include "limits.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "clock.hpp"
#include "lockstep/base/file.hpp"
#include "memory.hpp"

namespace bench {
namespace {

namespace fs = std::filesystem;
using lockstep::FileDescriptor;

constexpr std::size_t kPiece = 8 << 20;
constexpr std::size_t kMostCopied = 1 << 30;

FileDescriptor open_file(const fs::path& path, int flags) {
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!file) throw std::system_error(errno, std::generic_category(), path.string());
  return file;
}

void must(bool done, const char* call) {
  if (!done) throw std::system_error(errno, std::generic_category(), call);
}

// Calls transfer(offset, bytes) for every piece of `total` bytes, by `threads` threads.
template <class Transfer>
void by_pieces(std::size_t total, std::size_t threads, Transfer transfer) {
  std::atomic<std::size_t> next = 0;
  std::atomic<int> error = 0;
  const auto work = [&] {
    for (std::size_t at = next.fetch_add(kPiece); at < total; at = next.fetch_add(kPiece)) {
      const std::size_t bytes = std::min(kPiece, total - at);
      errno = 0;
      if (transfer(at, bytes) != static_cast<ssize_t>(bytes)) error = errno == 0 ? EIO : errno;
    }
  };
  std::vector<std::thread> helpers;
  for (std::size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  for (auto& helper : helpers) helper.join();
  errno = error;
  must(error == 0, "a piece of the file");
}

double write_seconds(const fs::path& folder, Bytes bytes, int flags, std::size_t threads) {
  const fs::path path = folder / "limit";
  fs::remove(path);
  ::sync();
  const auto began = Clock::now();
  {
    const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL | flags);
    if (threads > 1) must(::fallocate(file.get(), 0, 0, static_cast<off_t>(bytes.size())) == 0, "fallocate");
    by_pieces(bytes.size(), threads, [&](std::size_t at, std::size_t count) {
      return ::pwrite(file.get(), bytes.data() + at, count, static_cast<off_t>(at));
    });
    must(::fsync(file.get()) == 0, "fsync");
  }
  lockstep::fsync_path(folder);
  const double seconds = seconds_since(began);
  fs::remove(path);
  return seconds;
}

}  // namespace

double memcpy_seconds(std::span<const Bytes> pieces) {
  std::size_t total = 0;
  std::size_t largest = 0;
  for (const Bytes piece : pieces) {
    total += piece.size();
    largest = std::max(largest, piece.size());
  }
  const Memory memory = private_memory(std::max(largest, std::min(total, kMostCopied)));
  const std::span<std::byte> to = memory.get();
  std::size_t at = 0;
  const auto began = Clock::now();
  for (const Bytes piece : pieces) {
    if (at + piece.size() > to.size()) at = 0;
    std::memcpy(to.data() + at, piece.data(), piece.size());
    at += piece.size();
  }
  return seconds_since(began);
}

DurableWrite durable_write_seconds(const fs::path& folder, Bytes bytes) {
  return {.one_thread = write_seconds(folder, bytes, O_DIRECT, 1),
          .two_threads = write_seconds(folder, bytes, O_DIRECT, 2)};
}

double buffered_write_seconds(const fs::path& folder, Bytes bytes) { return write_seconds(folder, bytes, 0, 1); }

}  // namespace bench
