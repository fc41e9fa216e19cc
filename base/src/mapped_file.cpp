// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

void check(bool ok, const char* call, const std::filesystem::path& path) {
  if (!ok) {
    throw IoError({.what = fmt::format("{} {}", call, path.string()),
                   .why = std::error_code(errno, std::generic_category()).message()});
  }
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path)
    : MappedFile(FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path) {}

MappedFile::MappedFile(const FileDescriptor& file, const std::filesystem::path& path) {
  check(static_cast<bool>(file), "open", path);
  struct stat status {};
  check(::fstat(file.get(), &status) == 0, "fstat", path);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    return;  // mmap refuses an empty range
  }
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  check(address != MAP_FAILED, "mmap", path);
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

}  // namespace lockstep
