// SPDX-License-Identifier: Apache-2.0
#include "write/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "write/file_writer.hpp"
#include "write/small_file.hpp"

namespace lockstep {
namespace {

template <class Call>
auto without_interruption(Call&& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

bool is_unsupported(int code) { return code == EOPNOTSUPP || code == ENOSYS || code == EINVAL; }

}  // namespace

OutputFile::OutputFile(std::filesystem::path path) : path_(std::move(path)) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  descriptor_ = FileDescriptor(without_interruption([&] { return ::open(path_.c_str(), kFlags, 0600); }));
  if (!descriptor_) throw_errno("open", path_);
  // Not in open(): there, a file system without direct I/O fails and leaves a file behind.
  direct_ = ::fcntl(descriptor_.get(), F_SETFL, O_DIRECT) == 0;
}

void OutputFile::use_page_cache() {
  if (::fcntl(descriptor_.get(), F_SETFL, 0) != 0) throw_errno("fcntl", path_);
  direct_ = false;
}

void OutputFile::allocate(std::uint64_t bytes) {
  if (bytes == 0) return;
  const auto size = static_cast<off_t>(bytes);
  if (without_interruption([&] { return ::fallocate(descriptor_.get(), 0, 0, size); }) == 0) return;
  if (!is_unsupported(errno)) throw_errno("fallocate", path_);
}

void OutputFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  const auto first = static_cast<off_t>(offset);
  const auto all = static_cast<off_t>(bytes.size());
  for (off_t at = first; !bytes.empty();) {
    const bool direct = direct_;
    const ssize_t count =
        without_interruption([&] { return ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), at); });
    if (count < 0 && errno == EINVAL && direct) {
      use_page_cache();  // a disk with larger blocks, say
      continue;
    }
    if (count < 0) throw_errno("pwrite", path_);
    if (count == 0) throw_errno("pwrite", path_, ENOSPC);
    if (count % static_cast<ssize_t>(kPageBytes) != 0) use_page_cache();  // it goes on within a page
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    at += count;
  }
  if (direct_) return;
  // Now and not all in fsync, so that progress is that of the disk, and few pages are dirty at a time.
  constexpr unsigned kWriteOut = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(descriptor_.get(), first, all, kWriteOut) != 0 && !is_unsupported(errno)) {
    throw_errno("sync_file_range", path_);
  }
}

void OutputFile::finish(std::uint64_t bytes) {
  const auto size = static_cast<off_t>(bytes);
  if (without_interruption([&] { return ::ftruncate(descriptor_.get(), size); }) != 0) throw_errno("ftruncate", path_);
  if (::fsync(descriptor_.get()) != 0) throw_errno("fsync", path_);
  // Training data needs the page cache more, and what is read back shall come from the disk.
  if (!direct_) ::posix_fadvise(descriptor_.get(), 0, 0, POSIX_FADV_DONTNEED);
}

void OutputFile::read(std::uint64_t offset, std::span<std::byte> buffer, std::size_t bytes) {
  for (std::size_t got = 0; got < bytes;) {
    const bool direct = direct_;
    const auto rest = buffer.subspan(got);
    const auto at = static_cast<off_t>(offset + got);
    const ssize_t count =
        without_interruption([&] { return ::pread(descriptor_.get(), rest.data(), rest.size(), at); });
    if (count < 0 && errno == EINVAL && direct) {
      use_page_cache();
      continue;
    }
    if (count < 0) throw_errno("pread", path_);
    if (count == 0) throw_errno("pread", path_, EIO);  // shorter than what was written
    got += static_cast<std::size_t>(count);
    if (got < bytes && count % static_cast<ssize_t>(kPageBytes) != 0) use_page_cache();
  }
}

}  // namespace lockstep
