// SPDX-License-Identifier: Apache-2.0
#include "read/stored_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kPieceBytes = 1 << 20;  // fits in the second-level cache, where the CRC finds it

std::string errno_text() { return std::system_category().message(errno); }

}  // namespace

StoredFile::StoredFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO would wait for its writer.
  descriptor_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!descriptor_) fail("open", errno_text());
  struct stat status {};
  if (::fstat(descriptor_.get(), &status) != 0) fail("stat", errno_text());
  if (!S_ISREG(status.st_mode)) fail("open", "it is not a regular file");
  bytes_ = static_cast<std::uint64_t>(status.st_size);
}

void StoredFile::fail(const char* what, const std::string& why) const {
  throw IoError({.what = std::string(what) + " " + path_.string(), .why = why});
}

void StoredFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", errno_text());
    if (got == 0) fail("read", "it ended at byte " + std::to_string(offset));
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

std::uint32_t StoredFile::checksum(std::uint64_t offset, std::uint64_t bytes) const {
  std::vector<std::byte> buffer(std::min(bytes, kPieceBytes));
  std::uint32_t crc = 0;
  while (bytes > 0) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(bytes, buffer.size()));
    read(offset, piece);
    crc = crc32c(piece, crc);
    offset += piece.size();
    bytes -= piece.size();
  }
  return crc;
}

std::vector<std::uint32_t> StoredFile::block_checksums(std::uint64_t block_bytes) const {
  std::vector<std::uint32_t> crcs;
  for (std::uint64_t offset = 0; offset < bytes_; offset += block_bytes) {
    crcs.push_back(checksum(offset, std::min(block_bytes, bytes_ - offset)));
  }
  return crcs;
}

}  // namespace lockstep
