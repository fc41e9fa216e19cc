// SPDX-License-Identifier: Apache-2.0
#include "shm_message.hpp"

#include <algorithm>
#include <cstring>

#include "lockstep/base/error.hpp"

namespace lockstep::comm::shm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = 256 << 10;  // between two looks at the clock

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace

ShmMessage::ShmMessage(ShmBackend& backend, const Request& request, std::uint64_t index)
    : backend_(backend),
      call_(request.call),
      peer_(request.call.root),
      index_(index),
      bytes_(static_cast<std::size_t>(request.call.elements) * size_of(request.call.dtype)) {}

std::uint64_t ShmMessage::content() const noexcept {
  return (static_cast<std::uint64_t>(call_.elements) << 8) | static_cast<std::uint64_t>(call_.dtype);
}

void ShmMessage::throw_mismatch(std::uint64_t content_of_peer) const {
  const Call theirs{.kind = call_.kind == Kind::send ? Kind::receive : Kind::send,
                    .dtype = static_cast<DType>(content_of_peer & 0xff),
                    .root = backend_.rank(),
                    .elements = static_cast<std::int64_t>(content_of_peer >> 8),
                    .sequence = call_.sequence};
  const bool first = backend_.rank() < peer_ || (backend_.rank() == peer_ && call_.kind == Kind::send);
  throw BackendFailure{first ? mismatch(backend_.rank(), call_, peer_, theirs)
                             : mismatch(peer_, theirs, backend_.rank(), call_)};
}

std::size_t ShmMessage::bytes_of(std::uint64_t chunk) const noexcept {
  return std::min(kMailCellBytes, bytes_ - chunk * kMailCellBytes);
}

std::byte* ShmMessage::cell(int sender, std::uint64_t ring, std::uint64_t chunk) const {
  return memory_of(sender, ring + (base_ + chunk) % kMailCells * kMailCellBytes);
}

ShmSend::ShmSend(ShmBackend& backend, const Request& request)
    : ShmMessage(backend, request, backend.correspondence(request.call.root).sent++), input_(request.input) {
  direct_ = group().arena().contains(input_, bytes_);
  if (bytes_ > kEnclosedBytes && !direct_) {
    chunks_ = (bytes_ + kMailCellBytes - 1) / kMailCellBytes;
    base_ = correspondence().chunks;
    correspondence().chunks += chunks_;
  }
  published_ = try_publish();
}

// A letter may be written again when the message that was in it has been taken.
bool ShmSend::try_publish() {
  if (index_ >= kLetters) {
    std::uint64_t& taken = correspondence().taken;
    const std::uint64_t needed = index_ - kLetters + 1;
    if (taken < needed) taken = peer_mailbox().receipts.taken.load(std::memory_order_acquire);
    if (taken < needed) return false;
  }
  Letter& letter = own_mailbox().letters[index_ % kLetters];
  letter.content = content();
  fill(letter);
  letter.published.store(index_ + 1, std::memory_order_release);
  group().wake(peer_);
  return true;
}

void ShmSend::fill(Letter& letter) {
  if (bytes_ <= kInlineBytes) return copy_bytes(letter.payload.data(), input_, bytes_);
  Enclosure enclosure{.whole = chunks_ == 0 ? 1U : 0U};
  if (bytes_ <= kEnclosedBytes) {
    enclosure.place = ours(correspondence().enclosures, kLetters * kEnclosedBytes) + index_ % kLetters * kEnclosedBytes;
    copy_bytes(memory_of(backend_.rank(), enclosure.place), input_, bytes_);
  } else if (direct_) {
    enclosure.place = group().arena().offset_of(input_);
  } else {
    enclosure.place = ours(correspondence().ring, kMailCells * kMailCellBytes);
  }
  std::memcpy(letter.payload.data(), &enclosure, sizeof enclosure);
}

std::uint64_t ShmSend::ours(std::uint64_t& place, std::size_t bytes) {
  if (place == 0) place = backend_.reserve(bytes);
  return place;
}

Advanced ShmSend::advance(Clock::time_point slice_end) {
  auto advanced = Advanced::not_yet;
  if (!published_) {
    published_ = try_publish();
    if (!published_) return advanced;
    advanced = Advanced::partly;
  }
  if (bytes_ <= kEnclosedBytes) return Advanced::fully;
  throw_if_refused();
  if (copy_in_until(slice_end)) advanced = Advanced::partly;
  const bool taken = peer_mailbox().receipts.taken.load(std::memory_order_acquire) > index_;
  return taken ? Advanced::fully : advanced;
}

void ShmSend::throw_if_refused() const {
  const Receipts& receipts = peer_mailbox().receipts;
  if (receipts.refused.load(std::memory_order_acquire) == index_ + 1) throw_mismatch(receipts.expected);
}

bool ShmSend::copy_in_until(Clock::time_point slice_end) {
  std::atomic<std::uint64_t>& copied = own_mailbox().copied.value;
  bool moved = false;
  while (moved_ < chunks_ && copied.load(std::memory_order_relaxed) == base_ + moved_) {  // else an earlier one's turn
    const std::uint64_t next = base_ + moved_ + 1;
    if (next > kMailCells && peer_mailbox().receipts.consumed.load(std::memory_order_acquire) < next - kMailCells) {
      break;
    }
    copy_bytes(cell(backend_.rank(), correspondence().ring, moved_), input_ + moved_ * kMailCellBytes,
               bytes_of(moved_));
    ++moved_;
    copied.store(next, std::memory_order_release);
    group().wake(peer_);
    moved = true;
    if (Clock::now() >= slice_end) break;
  }
  return moved;
}

ShmReceive::ShmReceive(ShmBackend& backend, const Request& request)
    : ShmMessage(backend, request, backend.correspondence(request.call.root).received++), output_(request.output) {}

Advanced ShmReceive::advance(Clock::time_point slice_end) {
  auto advanced = Advanced::not_yet;
  std::atomic<std::uint64_t>& taken = own_mailbox().receipts.taken;
  if (!opened_) {
    if (taken.load(std::memory_order_relaxed) != index_ || !open_letter()) return advanced;
    advanced = Advanced::partly;
  }
  const std::size_t position = position_;
  const std::uint64_t moved = moved_;
  const bool all = enclosure_.whole != 0 ? copy_until(slice_end) : copy_out_until(slice_end);
  if (position_ != position || moved_ != moved) advanced = Advanced::partly;
  if (!all) return advanced;
  taken.store(index_ + 1, std::memory_order_release);
  group().wake(peer_);
  return Advanced::fully;
}

// Whether it is there.
bool ShmReceive::open_letter() {
  const Letter& letter = peer_mailbox().letters[index_ % kLetters];
  if (letter.published.load(std::memory_order_acquire) != index_ + 1) return false;
  if (letter.content != content()) refuse(letter.content);
  opened_ = true;
  if (bytes_ <= kInlineBytes) {
    copy_bytes(output_, letter.payload.data(), bytes_);
    enclosure_.whole = 1;
    position_ = bytes_;
    return true;
  }
  std::memcpy(&enclosure_, letter.payload.data(), sizeof enclosure_);
  if (enclosure_.whole == 0) {
    chunks_ = (bytes_ + kMailCellBytes - 1) / kMailCellBytes;
    base_ = own_mailbox().receipts.consumed.load(std::memory_order_relaxed);
  }
  return true;
}

void ShmReceive::refuse(std::uint64_t content_of_peer) {
  Receipts& receipts = own_mailbox().receipts;
  receipts.expected = content();
  receipts.refused.store(index_ + 1, std::memory_order_release);
  group().wake(peer_);
  throw_mismatch(content_of_peer);
}

// Whether all is copied.
bool ShmReceive::copy_until(Clock::time_point slice_end) {
  const std::byte* const data = memory_of(peer_, enclosure_.place);
  while (position_ < bytes_) {
    const std::size_t piece = std::min(kPieceBytes, bytes_ - position_);
    copy_bytes(output_ + position_, data + position_, piece);
    position_ += piece;
    if (position_ < bytes_ && Clock::now() >= slice_end) return false;
  }
  return true;
}

bool ShmReceive::copy_out_until(Clock::time_point slice_end) {
  std::atomic<std::uint64_t>& consumed = own_mailbox().receipts.consumed;
  const std::atomic<std::uint64_t>& copied = peer_mailbox().copied.value;
  while (moved_ < chunks_ && copied.load(std::memory_order_acquire) > base_ + moved_) {
    copy_bytes(output_ + moved_ * kMailCellBytes, cell(peer_, enclosure_.place, moved_), bytes_of(moved_));
    ++moved_;
    consumed.store(base_ + moved_, std::memory_order_release);
    group().wake(peer_);
    if (Clock::now() >= slice_end) break;
  }
  return moved_ == chunks_;
}

}  // namespace lockstep::comm::shm
