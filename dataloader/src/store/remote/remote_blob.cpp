// SPDX-License-Identifier: Apache-2.0
#include "store/remote/remote_blob.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep::remote {
namespace {

// Waiting for their turn, of all blobs of a store: each holds room in the cache and an open file.
constexpr std::size_t kMostWaiting = 128;

std::uint64_t piece_at(std::uint64_t offset) { return offset / kPieceBytes; }

}  // namespace

RemoteBlob::RemoteBlob(std::shared_ptr<Fetcher> fetcher, std::shared_ptr<PieceTable> pieces, std::uint64_t most_ahead)
    : fetcher_(std::move(fetcher)), pieces_(std::move(pieces)), most_ahead_(most_ahead) {}

BlobView RemoteBlob::view(std::uint64_t offset, std::uint64_t bytes) const {
  check(offset, bytes);
  if (bytes == 0) return {};
  const auto first = piece_at(offset);
  const auto last = piece_at(offset + bytes - 1);
  read_ahead(first, last);
  if (first != last) return gather(offset, bytes);
  auto piece = pieces_->get(*fetcher_, first);
  const auto part = piece->bytes().subspan(offset - first * kPieceBytes, bytes);
  return {.bytes = part, .keeps = std::move(piece)};
}

// What lies in several pieces is copied. The copy grows with what has come, because the blob's size is only a claim.
BlobView RemoteBlob::gather(std::uint64_t offset, std::uint64_t bytes) const {
  auto buffer = std::make_shared<std::vector<std::byte>>();
  const auto last = piece_at(offset + bytes - 1);
  while (buffer->size() < bytes) {
    const auto at = offset + buffer->size();
    const auto index = piece_at(at);
    const auto end = std::min(last, index + most_ahead_);
    for (auto next = index + 1; next <= end && pieces_->begin(*fetcher_, next); ++next) {
    }
    const auto piece = pieces_->get(*fetcher_, index);
    const auto rest = piece->bytes().subspan(at - index * kPieceBytes);
    const auto part = rest.first(std::min<std::uint64_t>(rest.size(), bytes - buffer->size()));
    buffer->insert(buffer->end(), part.begin(), part.end());
  }
  return {.bytes = *buffer, .keeps = buffer};
}

void RemoteBlob::read_ahead(std::uint64_t first, std::uint64_t last) const {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  {
    const std::lock_guard lock(mutex_);
    if (last == front_.piece && front_.begun > last) return;
    constexpr std::uint64_t kNear = 2;  // threads overtake each other
    if (first > front_.piece + kNear || last + kNear < front_.piece) {
      front_ = {.piece = last, .ahead = 0, .begun = last + 1};  // somewhere else: wait whether it goes on from there
      return;
    }
    if (last > front_.piece || front_.begun == 0)
      front_.ahead = std::clamp<std::uint64_t>(2 * front_.ahead, 2, most_ahead_);
    front_.piece = std::max(front_.piece, last);
    if (fetcher_->waiting() >= kMostWaiting) return;
    const auto pieces = piece_at(size() - 1) + 1;
    begin = std::max(front_.begun, last + 1);
    end = std::min(pieces, front_.piece + 1 + front_.ahead);
    front_.begun = std::max(begin, end);
  }
  for (auto index = begin; index < end; ++index) {
    if (pieces_->begin(*fetcher_, index)) continue;
    const std::lock_guard lock(mutex_);
    front_.begun = std::min(front_.begun, index);  // from here on next time
    return;
  }
}

void RemoteBlob::prefetch(std::uint64_t offset, std::uint64_t bytes) const {
  check(offset, bytes);
  if (bytes == 0) return;
  for (auto index = piece_at(offset); index <= piece_at(offset + bytes - 1); ++index) {
    if (fetcher_->waiting() >= kMostWaiting || !pieces_->begin(*fetcher_, index)) return;
  }
}

bool RemoteBlob::refetch(std::uint64_t offset, std::uint64_t bytes) const {
  check(offset, bytes);
  if (bytes == 0) return true;
  for (auto index = piece_at(offset); index <= piece_at(offset + bytes - 1); ++index) pieces_->drop(index);
  static_cast<void>(view(offset, bytes));
  return true;
}

void RemoteBlob::check(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset > size() || bytes > size() - offset) {
    throw DataError({.what = fmt::format("{} bytes at {} of {}", bytes, offset, name()),
                     .why = fmt::format("it has {} bytes", size()),
                     .fix = "the file is shorter than its index says: copy it again"});
  }
}

}  // namespace lockstep::remote
