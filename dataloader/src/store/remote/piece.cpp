// SPDX-License-Identifier: Apache-2.0
#include "store/remote/piece_footer.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "store/remote/cache.hpp"

namespace lockstep::remote {

PieceFooter footer_of(std::span<const std::byte> bytes) noexcept {
  return {.bytes = bytes.size(), .crc32c = crc32c(bytes), .magic = PieceFooter::kMagic};
}

Piece::Piece(FileDescriptor pin, std::size_t file_bytes) : pin_(std::move(pin)) {
  void* const address = ::mmap(nullptr, file_bytes, PROT_READ, MAP_SHARED, pin_.get(), 0);
  struct stat status {};
  if (address == MAP_FAILED || ::fstat(pin_.get(), &status) != 0) {
    const int code = errno;
    if (address != MAP_FAILED) ::munmap(address, file_bytes);
    throw IoError({.what = "map a piece of the cache of remote data",
                   .why = std::generic_category().message(code),
                   .fix = "see whether this process may map more files (ulimit -v, vm.max_map_count)"});
  }
  mapped_ = {static_cast<const std::byte*>(address), file_bytes};
  bytes_ = mapped_.first(file_bytes - sizeof(PieceFooter));
  file_ = status.st_ino;
}

Piece::~Piece() {
  if (!mapped_.empty()) ::munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
}

bool Piece::intact() const noexcept {
  PieceFooter footer;
  std::memcpy(&footer, mapped_.data() + bytes_.size(), sizeof(footer));
  return footer == footer_of(bytes_);
}

}  // namespace lockstep::remote
