// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "store/remote/cache.hpp"
#include "store/remote/fetcher.hpp"

namespace lockstep::remote {

// The pieces of one blob: which are mapped, under way or known to be good. A piece that is wanted twice is fetched
// once. Thread-safe. Does not own the fetcher, whose thread may be the last to hold it.
class PieceTable : public std::enable_shared_from_this<PieceTable> {
 public:
  // `id`: tells the blob from all others. `patience`: with another process that fetches a piece.
  PieceTable(Request whole, const std::string& id, std::uint64_t size, std::string validator,
             std::shared_ptr<Cache> cache, std::chrono::milliseconds patience);

  PieceTable(const PieceTable&) = delete;
  PieceTable& operator=(const PieceTable&) = delete;
  ~PieceTable();

  [[nodiscard]] const std::string& shown() const noexcept { return whole_.shown; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  // Blocks until the piece is here. Throws IoError, DataError if the object has changed.
  [[nodiscard]] std::shared_ptr<const Piece> get(Fetcher& fetcher, std::uint64_t index);
  // Begins to fetch the piece unless it is here, or under way in some process of this host. False: not now, enough has
  // been fetched ahead.
  [[nodiscard]] bool begin(Fetcher& fetcher, std::uint64_t index);
  void drop(std::uint64_t index);

 private:
  struct Outcome {
    std::shared_ptr<const Piece> piece;  // null: failed
    Failure failure{};
  };
  struct Coming {
    std::promise<Outcome> promise;
    std::shared_future<Outcome> future = promise.get_future().share();
    std::weak_ptr<Fetcher::Job> job{};
  };
  struct Entry {
    std::weak_ptr<const Piece> piece;
    std::shared_ptr<Coming> coming;  // null: not under way
    ino_t known_good = 0;
    bool ahead = false;  // fetched before somebody wanted it, and not used yet
  };

  void bring(Fetcher& fetcher, std::uint64_t index, const std::shared_ptr<Coming>& coming);
  void fetch(Fetcher& fetcher, std::uint64_t index, const std::shared_ptr<Coming>& coming, Claim claim, bool urgent);
  [[nodiscard]] std::shared_ptr<const Piece> checked(std::uint64_t index, Response& response, Claim claim);
  void arrived(std::uint64_t index, const std::shared_ptr<Coming>& coming, std::shared_ptr<const Piece> piece);
  void failed(std::uint64_t index, const std::shared_ptr<Coming>& coming, const Failure& failure);
  void set_ahead(Entry& entry, bool ahead);
  [[nodiscard]] std::string file_name(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t bytes_of(std::uint64_t index) const;

  const Request whole_;
  const std::uint64_t size_;
  const std::string validator_;
  const std::string id_;  // of this state of this blob, in the cache
  const std::shared_ptr<Cache> cache_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Entry> entries_;  // guarded
};

}  // namespace lockstep::remote
