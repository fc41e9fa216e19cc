// SPDX-License-Identifier: Apache-2.0
#include "store/remote/piece_table.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep::remote {
namespace {

// A file name for this state of a blob: another one of the same name, size and validator would be a found collision of
// SHA-256.
std::string file_name_of(const std::string& id, const std::string& validator, std::uint64_t size) {
  const auto text = fmt::format("{}\n{}\n{}\n{}", id, validator, size, kPieceBytes);
  std::array<unsigned char, 32> digest{};
  if (EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw Error({.what = "SHA-256 of the name of a remote file", .why = "libcrypto refuses"});
  }
  std::string hex;
  for (std::size_t i = 0; i < 16; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace

PieceTable::PieceTable(Request whole, const std::string& id, std::uint64_t size, std::string validator,
                       std::shared_ptr<Cache> cache, std::chrono::milliseconds patience)
    : whole_(std::move(whole)),
      size_(size),
      validator_(std::move(validator)),
      id_(file_name_of(id, validator_, size)),
      cache_(std::move(cache)),
      patience_(patience) {}

PieceTable::~PieceTable() {
  for (auto& [index, entry] : entries_) set_ahead(entry, false);
}

// The caller holds the lock.
void PieceTable::set_ahead(Entry& entry, bool ahead) {
  if (entry.ahead == ahead) return;
  entry.ahead = ahead;
  ahead ? cache_->count_ahead() : cache_->count_used();
}

std::shared_ptr<const Piece> PieceTable::get(Fetcher& fetcher, std::uint64_t index) {
  std::shared_ptr<Coming> coming;
  bool ours = false;
  {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[index];
    set_ahead(entry, false);
    if (auto piece = entry.piece.lock()) return piece;
    ours = entry.coming == nullptr;
    if (ours) entry.coming = std::make_shared<Coming>();
    coming = entry.coming;
    if (const auto job = coming->job.lock()) fetcher.hurry(job);
  }
  if (ours) bring(fetcher, index, coming);
  const auto& outcome = coming->future.get();
  if (outcome.piece == nullptr) outcome.failure.raise();
  cache_->remember(outcome.piece);
  return outcome.piece;
}

// From the cache, from another process that is fetching it, or from the network.
void PieceTable::bring(Fetcher& fetcher, std::uint64_t index, const std::shared_ptr<Coming>& coming) {
  const auto name = file_name(index);
  const auto bytes = bytes_of(index);
  const auto known_good = [&] {
    const std::lock_guard lock(mutex_);
    return entries_[index].known_good;
  }();
  try {
    const auto deadline = std::chrono::steady_clock::now() + patience_;
    for (;;) {
      if (auto piece = cache_->find(name, bytes, known_good)) return arrived(index, coming, std::move(piece));
      auto claim = cache_->claim(name, bytes);
      // Just renamed by another process, which may have it locked for a moment longer.
      const bool nearly_here = claim.kind() == Claim::Kind::others || cache_->has(name);
      if (!nearly_here || std::chrono::steady_clock::now() > deadline) {
        return fetch(fetcher, index, coming, std::move(claim), true);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  } catch (...) {
    failed(index, coming, current_failure());
  }
}

bool PieceTable::begin(Fetcher& fetcher, std::uint64_t index) {
  const auto name = file_name(index);
  const auto needed = [&] {
    const auto& entry = entries_[index];
    return entry.coming == nullptr && entry.piece.expired() && !cache_->has(name);
  };
  {
    const std::lock_guard lock(mutex_);
    if (!needed()) return true;
  }
  if (!cache_->may_go_ahead()) return false;
  auto claim = cache_->claim(name, bytes_of(index));
  if (claim.kind() != Claim::Kind::mine) return claim.kind() == Claim::Kind::others;
  const auto coming = std::make_shared<Coming>();
  {
    const std::lock_guard lock(mutex_);
    if (!needed()) return true;
    auto& entry = entries_[index];
    entry.coming = coming;
    set_ahead(entry, true);
  }
  fetch(fetcher, index, coming, std::move(claim), false);
  return true;
}

void PieceTable::fetch(Fetcher& fetcher, std::uint64_t index, const std::shared_ptr<Coming>& coming, Claim claim,
                       bool urgent) {
  auto request = whole_;
  request.offset = index * kPieceBytes;
  request.bytes = bytes_of(index);
  // std::function wants what can be copied.
  auto shared_claim = std::make_shared<Claim>(std::move(claim));
  const auto done = [self = shared_from_this(), index, coming, shared_claim](Response* response,
                                                                             const Failure* failure) {
    if (response == nullptr) return self->failed(index, coming, *failure);
    try {
      self->arrived(index, coming, self->checked(index, *response, std::move(*shared_claim)));
    } catch (...) {
      self->failed(index, coming, current_failure());
    }
  };
  const auto job = fetcher.submit(std::move(request), done, urgent);
  const std::lock_guard lock(mutex_);
  coming->job = job;
}

std::shared_ptr<const Piece> PieceTable::checked(std::uint64_t index, Response& response, Claim claim) {
  if (!response.found() || response.size != size_ || response.validator != validator_) {
    const auto now = response.found() ? fmt::format("it has {} bytes and ETag {}", response.size, response.validator)
                                      : fmt::format("it is gone (HTTP {})", response.status);
    throw DataError({.what = "read " + whole_.shown,
                     .why = fmt::format("it changed: it had {} bytes and ETag {} when it was opened, now {}", size_,
                                        validator_, now),
                     .fix = "write a new data set beside one that is being read; start again to read the new one"});
  }
  if (response.body.size() != bytes_of(index)) {
    throw IoError({.what = "read " + whole_.shown,
                   .why = fmt::format("{} bytes came where {} were asked for", response.body.size(), bytes_of(index)),
                   .fix = "look at the server and at proxies before it"});
  }
  return cache_->keep(file_name(index), std::move(claim), std::move(response.body));
}

void PieceTable::arrived(std::uint64_t index, const std::shared_ptr<Coming>& coming,
                         std::shared_ptr<const Piece> piece) {
  {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[index];
    entry.piece = piece;
    entry.coming = nullptr;
    entry.known_good = piece->file();
  }
  coming->promise.set_value({.piece = std::move(piece)});
}

void PieceTable::failed(std::uint64_t index, const std::shared_ptr<Coming>& coming, const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[index];
    entry.coming = nullptr;  // the next who wants it tries again
    set_ahead(entry, false);
  }
  coming->promise.set_value({.piece = nullptr, .failure = failure});
}

void PieceTable::drop(std::uint64_t index) {
  cache_->drop(file_name(index));
  const std::lock_guard lock(mutex_);
  auto& entry = entries_[index];
  entry.piece.reset();
  entry.known_good = 0;
}

std::string PieceTable::file_name(std::uint64_t index) const { return fmt::format("{}-{:06}", id_, index); }

std::uint64_t PieceTable::bytes_of(std::uint64_t index) const {
  return std::min(kPieceBytes, size_ - index * kPieceBytes);
}

}  // namespace lockstep::remote
