// SPDX-License-Identifier: Apache-2.0
#include "arena.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "lockstep/base/error.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::uint64_t kAlignment = 128;      // two cache lines, which the adjacent-line prefetcher fetches together
constexpr std::uint64_t kGrowth = 2 << 20;     // bytes backed at a time
constexpr std::uint64_t kSpare = 64ULL << 20;  // left to the rest of the host

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

[[noreturn]] void fail(const char* call, int error) {
  throw IoError({.what = fmt::format("shared memory: {}", call),
                 .why = std::strerror(error),
                 .fix = "comm.backend=mpi does without"});
}

}  // namespace

Mapping::Mapping(const FileDescriptor& memory_file) {
  void* const base =
      mmap(nullptr, Arena::kReserved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_file.get(), 0);
  if (base == MAP_FAILED) fail("mmap", errno);
  base_ = static_cast<std::byte*>(base);
}

Mapping::~Mapping() { munmap(base_, Arena::kReserved); }

void Mapping::prepare_more(std::uint64_t end) noexcept {
  const std::uint64_t until = std::max(end, doorbell().backed.load(std::memory_order_acquire));
  std::uint64_t from = prepared_.load(std::memory_order_relaxed);
  while (from < until && !prepared_.compare_exchange_weak(from, until, std::memory_order_relaxed)) {
  }
#ifdef MADV_POPULATE_WRITE
  if (from < until)
    madvise(base_ + from, until - from, MADV_POPULATE_WRITE);  // an older kernel refuses: pages come one by one
#endif
}

Doorbell& Mapping::doorbell() const noexcept { return *object_at<Doorbell>(base_); }

Arena::Arena(const MemorySource& source) : source_(source), file_(memfd_create("lockstep", MFD_CLOEXEC)) {
  if (!file_) fail("memfd_create", errno);
  rlimit largest_file{};
  if (getrlimit(RLIMIT_FSIZE, &largest_file) == 0 &&
      largest_file.rlim_cur < kReserved) {  // ftruncate would be a SIGXFSZ
    throw IoError({.what = "shared memory",
                   .why = fmt::format("files may have {} bytes here (RLIMIT_FSIZE) and {} are needed",
                                      largest_file.rlim_cur, kReserved),
                   .fix = "ulimit -f unlimited, or comm.backend=mpi"});
  }
  if (ftruncate(file_.get(), static_cast<off_t>(kReserved)) != 0) fail("ftruncate", errno);
  mapping_ = std::make_shared<Mapping>(file_);
  new (mapping_->at(allocate(sizeof(Doorbell)))) Doorbell;
  mapping_->doorbell().backed.store(backed_, std::memory_order_release);
}

std::uint64_t Arena::allocate(std::size_t bytes) {
  const std::uint64_t offset = round_up(used_, kAlignment);
  const std::uint64_t end = offset + bytes;
  if (end > backed_) {
    const std::uint64_t grow = round_up(end - backed_, kGrowth);
    const std::uint64_t available = source_.available();
    const auto refuse = [&](const std::string& why) {
      throw IoError({.what = fmt::format("shared memory of {} bytes", bytes),
                     .why = why,
                     .fix = "use a smaller model, fewer ranks on this host, or a larger memory limit"});
    };
    if (available < grow + kSpare) {
      refuse(fmt::format("{} bytes are needed, of them {} left to the rest of the host, and {} are available",
                         grow + kSpare, kSpare, available));
    }
    if (end > kReserved ||
        source_.reserve(file_.get(), 0, static_cast<off_t>(backed_), static_cast<off_t>(grow)) != 0) {
      const int error = end > kReserved ? ENOMEM : errno;
      refuse(fmt::format("fallocate of {} bytes: {} ({} bytes are available)", grow, std::strerror(error), available));
    }
    std::memset(mapping_->at(backed_), 0, grow);  // first touch by the owner, so that pages lie on its NUMA node
    backed_ += grow;
    if (used_ > 0) mapping_->doorbell().backed.store(backed_, std::memory_order_release);
  }
  used_ = end;
  return offset;
}

bool Arena::contains(const void* memory, std::size_t bytes) const noexcept {
  const auto* const at = static_cast<const std::byte*>(memory);
  return at >= mapping_->at(0) && at + bytes <= mapping_->at(used_);
}

std::uint64_t Arena::offset_of(const void* memory) const noexcept {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(memory) - mapping_->at(0));
}

}  // namespace lockstep::comm::shm
