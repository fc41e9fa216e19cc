// SPDX-License-Identifier: Apache-2.0
#include "save/file_moves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "read/stored_file.hpp"
#include "write/file_writer.hpp"
#include "write/output_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 2 << 20;
static_assert(kPieceBytes % kBlockBytes == 0);
constexpr std::size_t kInFlight = 4;  // pieces of a rank

// One end of a move. All is noted, nothing thrown but CommError: the other end waits.
class FileEnd {
 public:
  FileEnd(const FileRecord& record, OwnFailure& failure) : record_(record), failure_(failure) {}

  void open_source(const fs::path& path) {
    failure_.note([&] { source_.emplace(path); });
  }
  void open_target(const fs::path& path) {
    failure_.note([&] {
      target_.emplace(path);
      target_->allocate(whole_pages(record_.bytes));
    });
  }
  void read(std::uint64_t offset, std::span<std::byte> piece) {
    if (source_ && failure_.none()) failure_.note([&] { source_->read(offset, piece); });
  }
  // `piece` is readable up to whole pages.
  void write(std::uint64_t offset, std::span<std::byte> piece) {
    if (!target_ || !failure_.none()) return;
    failure_.note([&] {
      check(offset, piece);
      target_->write(offset, {piece.data(), whole_pages(piece.size())});
      if (offset + piece.size() == record_.bytes) target_->finish(record_.bytes);
    });
  }

 private:
  void check(std::uint64_t offset, std::span<const std::byte> piece) const {
    for (std::size_t at = 0; at < piece.size(); at += kBlockBytes) {
      const auto block = piece.subspan(at, std::min<std::size_t>(kBlockBytes, piece.size() - at));
      if (crc32c(block) == record_.block_crcs[(offset + at) / kBlockBytes]) continue;
      throw IoError({.what = fmt::format("receive {}", record_.name),
                     .why = fmt::format("bytes from {} on are not those that were verified", offset + at),
                     .fix = "start again; if it happens again, look for faulty memory or network cards"});
    }
  }

  const FileRecord& record_;
  OwnFailure& failure_;
  std::optional<StoredFile> source_;
  std::optional<OutputFile> target_;
};

// A piece on its way.
struct Piece {
  std::shared_ptr<FileEnd> end;
  std::uint64_t offset = 0;
  std::span<std::byte> bytes;
  bool received = false;
  std::optional<Work> work;

  void finish() {
    if (!work) return;
    work->wait();
    work.reset();
    if (received) end->write(offset, bytes);
    end.reset();
  }
};

// This rank's pieces, the oldest of which it waits for. Two ranks never wait for each other, because all take their
// moves in the order of one list.
class PieceWindow {
 public:
  PieceWindow(Communicator& world, OwnFailure& failure) : world_(world) {
    failure.note([&] { memory_ = page_aligned(world, kInFlight * kPieceBytes); });
  }
  [[nodiscard]] bool has_memory() const noexcept { return !memory_.empty(); }

  void add(const std::shared_ptr<FileEnd>& end, const FileMove& move, std::uint64_t offset, std::size_t bytes) {
    const std::size_t slot = next_++ % kInFlight;
    Piece& piece = pieces_[slot];
    piece.finish();
    piece.end = end;
    piece.offset = offset;
    piece.bytes = memory_.subspan(slot * kPieceBytes, bytes);
    piece.received = move.to == world_.rank();
    const Buffer buffer{piece.bytes.data(), static_cast<std::int64_t>(bytes), DType::uint8};
    if (!piece.received) end->read(offset, piece.bytes);
    piece.work.emplace(piece.received ? world_.receive(buffer, move.from) : world_.send(buffer, move.to));
  }
  void finish() {
    for (std::size_t i = 0; i < kInFlight; ++i) pieces_[next_++ % kInFlight].finish();
  }

 private:
  [[nodiscard]] std::span<std::byte> page_aligned(Communicator& world, std::size_t bytes) {
    owner_ = world.allocate(bytes + kPageBytes);
    void* first = owner_.get();
    std::size_t space = bytes + kPageBytes;
    return {static_cast<std::byte*>(std::align(kPageBytes, bytes, first, space)), bytes};
  }

  Communicator& world_;
  std::shared_ptr<std::byte> owner_;  // peers copy out of it directly where the backend can
  std::span<std::byte> memory_;
  std::array<Piece, kInFlight> pieces_;
  std::size_t next_ = 0;
};

}  // namespace

void move_files(Communicator& world, const Manifest& manifest, const std::vector<FileMove>& moves,
                const std::function<fs::path(std::size_t)>& source, const std::function<fs::path(std::size_t)>& target,
                OwnFailure& failure) {
  PieceWindow window(world, failure);
  std::int64_t ready = window.has_memory() ? 1 : 0;
  world.all_reduce({&ready, 1, DType::int64}, ReduceOp::min).wait();
  if (ready == 0) return;  // some rank has noted why
  for (const FileMove& move : moves) {
    const bool sends = move.from == world.rank();
    if (!sends && move.to != world.rank()) continue;
    const FileRecord& record = manifest.files[move.file];
    const auto end = std::make_shared<FileEnd>(record, failure);
    sends ? end->open_source(source(move.file)) : end->open_target(target(move.file));
    for (std::uint64_t offset = 0; offset < record.bytes; offset += kPieceBytes) {
      window.add(end, move, offset, std::min<std::uint64_t>(kPieceBytes, record.bytes - offset));
    }
  }
  window.finish();
}

}  // namespace lockstep
