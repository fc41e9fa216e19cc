// SPDX-License-Identifier: Apache-2.0
#include "store/remote/cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"
#include "store/remote/piece_footer.hpp"

namespace lockstep::remote {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIncoming = ".incoming";
constexpr std::string_view kPiece = ".piece";
constexpr std::size_t kRemembered = 64;  // of these, at most one in 16 that the cache has room for

FileDescriptor open_file(const fs::path& path, int flags) {
  return FileDescriptor(::open(path.c_str(), flags | O_CLOEXEC, 0644));
}

bool try_flock(const FileDescriptor& file, int how) { return ::flock(file.get(), how | LOCK_NB) == 0; }

bool same_file(const FileDescriptor& file, const fs::path& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

[[noreturn]] void fail(const char* operation, const fs::path& path, int code) {
  throw IoError({.what = fmt::format("{} {} of the cache of remote data", operation, path.string()),
                 .why = fmt::format("{} (errno {})", std::generic_category().message(code), code),
                 .fix = "give a cache folder on a local disk that this user may write"});
}

struct Entry {
  fs::path path;
  std::uint64_t bytes = 0;
  timespec used{};
};

bool used_before(const Entry& a, const Entry& b) {
  return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
}

bool nobody_writes(const fs::path& path) {
  const auto file = open_file(path, O_RDONLY);
  return file && try_flock(file, LOCK_EX) && same_file(file, path);  // else it has just been renamed
}

// The files that the cache made, and no others: somebody may give a folder that holds more. Removes what dead processes
// were writing.
std::vector<Entry> entries_of(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator(folder, ignored)) {
    const auto& path = item.path();
    const bool writing = path.extension() == kIncoming;
    if (!writing && path.extension() != kPiece) continue;
    if (writing && nobody_writes(path)) ::unlink(path.c_str());
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) {
      entries.push_back({path, static_cast<std::uint64_t>(status.st_size), status.st_mtim});
    }
  }
  return entries;
}

// False: somebody uses it.
bool evict(const fs::path& path) {
  const auto file = open_file(path, O_RDONLY);
  if (!file) return errno == ENOENT;
  return try_flock(file, LOCK_EX) && ::unlink(path.c_str()) == 0;
}

}  // namespace

// The folder's lock, for as long as it takes to count and to make room, never for as long as a network does.
class Cache::Locked {
 public:
  explicit Locked(Cache& cache) : lock_(cache.mutex_), file_(cache.lock_file_.get()) {
    // A process that was stopped while it had the lock must not stop the others: they go on without room.
    constexpr std::chrono::seconds kPatience{5};
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!(held_ = ::flock(file_, LOCK_EX | LOCK_NB) == 0) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
  ~Locked() {
    if (held_) ::flock(file_, LOCK_UN);
  }
  [[nodiscard]] bool held() const noexcept { return held_; }

 private:
  const std::lock_guard<std::mutex> lock_;
  const int file_;
  bool held_ = false;
};

Claim::~Claim() {
  if (file_) ::unlink(path_.c_str());
}

Cache::Cache(const fs::path& folder, std::uint64_t limit) : folder_(folder), limit_(limit) {
  constexpr auto kSmallest = kPieceBytes + sizeof(PieceFooter);
  if (limit < kSmallest) {
    throw UsageError({.what = fmt::format("cache of remote data in {}, at most {} bytes", folder.string(), limit),
                      .why = fmt::format("one piece takes {} bytes", kSmallest),
                      .fix = "allow it 1 GiB or more"});
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("make", folder, error.value());
  lock_file_ = open_file(folder / "lock", O_RDWR | O_CREAT);
  if (!lock_file_) fail("open", folder / "lock", errno);
  const Locked locked(*this);
  // A lower limit than the last time's holds from the start.
  if (locked.held() && make_room(limit_) > limit_) {
    throw UsageError({.what = fmt::format("cache of remote data in {}, at most {} bytes", folder.string(), limit),
                      .why = "other processes use more of it than that",
                      .fix = "give all processes of a host the same limit, or this one another folder"});
  }
}

// The caller holds the lock. Drops what was not used for longest until at most `allowed` bytes are left, if it can;
// notes and returns how many are.
std::uint64_t Cache::make_room(std::uint64_t allowed) {
  auto entries = entries_of(folder_);
  std::ranges::sort(entries, used_before);
  std::uint64_t taken = 0;
  for (const auto& entry : entries) taken += entry.bytes;
  for (const auto& entry : entries) {
    if (taken <= allowed) break;
    if (entry.path.extension() == kPiece && evict(entry.path)) taken -= entry.bytes;
  }
  note_taken(taken);
  return taken;
}

void Cache::note_taken(std::uint64_t bytes) {
  if (::pwrite(lock_file_.get(), &bytes, sizeof(bytes), 0) != sizeof(bytes)) fail("write", folder_ / "lock", errno);
}

// The caller holds the lock.
bool Cache::reserve(std::uint64_t bytes) {
  std::uint64_t taken = 0;
  const bool known = ::pread(lock_file_.get(), &taken, sizeof(taken), 0) == sizeof(taken);
  if (!known || taken > limit_ || bytes > limit_ - taken) {
    // Somewhat more than is needed, so that the folder is not searched for every piece.
    taken = make_room(limit_ - bytes - std::min(limit_ / 32, limit_ - bytes));
    if (taken > limit_ - bytes) return false;
  }
  note_taken(taken + bytes);
  return true;
}

fs::path Cache::path_of(const std::string& name) const { return folder_ / (name + std::string(kPiece)); }

std::shared_ptr<const Piece> Cache::find(const std::string& name, std::uint64_t bytes, ino_t known_good) {
  const auto path = path_of(name);
  auto file = open_file(path, O_RDONLY);
  struct stat status {};
  // Once it is locked nobody drops it; before, somebody may have.
  if (!file || !try_flock(file, LOCK_SH) || ::fstat(file.get(), &status) != 0 || status.st_nlink == 0) return nullptr;
  ::futimens(file.get(), nullptr);  // used now
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (file_bytes == bytes + sizeof(PieceFooter)) {
    auto piece = std::make_shared<const Piece>(std::move(file), file_bytes);
    if (piece->file() == known_good || piece->intact()) return piece;
  }
  drop(name);
  return nullptr;
}

bool Cache::has(const std::string& name) const { return ::access((path_of(name)).c_str(), F_OK) == 0; }

Claim Cache::claim(const std::string& name, std::uint64_t bytes) {
  Claim claim;
  const auto path = folder_ / (name + std::string(kIncoming));
  const auto file_bytes = bytes + sizeof(PieceFooter);
  const Locked locked(*this);
  auto file = locked.held() ? open_file(path, O_RDWR | O_CREAT) : FileDescriptor();
  if (!file) return claim;
  // Locked, or renamed since it was opened: another one fetches it or has just done so.
  if (!try_flock(file, LOCK_EX) || !same_file(file, path)) {
    claim.kind_ = Claim::Kind::others;
    return claim;
  }
  claim.file_ = std::move(file);
  claim.path_ = path;
  // At its full size from now on, for whoever counts.
  if (!reserve(file_bytes) || ::ftruncate(claim.file_.get(), static_cast<off_t>(file_bytes)) != 0) return {};
  claim.kind_ = Claim::Kind::mine;
  return claim;
}

std::shared_ptr<const Piece> Cache::keep(const std::string& name, Claim claim, std::vector<std::byte> bytes) {
  const auto loose = [&] { return std::make_shared<const Piece>(std::move(bytes)); };
  if (claim.kind() != Claim::Kind::mine) return loose();
  const auto footer = footer_of(bytes);
  try {
    write_all(claim.file_.get(), bytes, claim.path_);
    write_all(claim.file_.get(), std::as_bytes(std::span(&footer, 1)), claim.path_);
  } catch (const IoError&) {
    return loose();  // the disk is full or broken: the network is enough to go on
  }
  struct stat status {};
  {
    // Whoever counts must not find it under neither name.
    const Locked locked(*this);
    if (!locked.held() || ::fstat(claim.file_.get(), &status) != 0 ||
        ::rename(claim.path_.c_str(), path_of(name).c_str()) != 0) {
      return loose();
    }
  }
  claim.file_ = FileDescriptor();
  if (auto piece = find(name, bytes.size(), status.st_ino)) return piece;
  return loose();  // dropped in between, to make room
}

void Cache::drop(const std::string& name) { ::unlink((path_of(name)).c_str()); }

void Cache::remember(std::shared_ptr<const Piece> piece) {
  const auto most = std::min<std::uint64_t>(kRemembered, pieces() / 16);
  const std::lock_guard lock(remembered_mutex_);
  if (piece->file() != 0) remembered_.push_back(std::move(piece));
  while (remembered_.size() > most) remembered_.pop_front();
}

}  // namespace lockstep::remote
