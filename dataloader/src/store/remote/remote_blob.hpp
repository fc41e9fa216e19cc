// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "lockstep/dataloader/blob.hpp"
#include "store/remote/fetcher.hpp"
#include "store/remote/piece_table.hpp"

namespace lockstep::remote {

// A blob behind a URL, fetched and cached in pieces, ahead of whoever reads it from front to back.
class RemoteBlob final : public Blob {
 public:
  // `most_ahead`: pieces.
  RemoteBlob(std::shared_ptr<Fetcher> fetcher, std::shared_ptr<PieceTable> pieces, std::uint64_t most_ahead);

  [[nodiscard]] const std::string& name() const noexcept override { return pieces_->shown(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return pieces_->size(); }
  [[nodiscard]] BlobView view(std::uint64_t offset, std::uint64_t bytes) const override;
  [[nodiscard]] bool refetch(std::uint64_t offset, std::uint64_t bytes) const override;
  void prefetch(std::uint64_t offset, std::uint64_t bytes) const override;

 private:
  // Where a front-to-back reader, or a few threads that share the work of one, has got to. In pieces.
  struct Front {
    std::uint64_t piece = 0;  // the last that was read
    std::uint64_t ahead = 0;  // how many behind it to have
    std::uint64_t begun = 0;  // all before this one
  };

  void check(std::uint64_t offset, std::uint64_t bytes) const;
  void read_ahead(std::uint64_t first, std::uint64_t last) const;
  [[nodiscard]] BlobView gather(std::uint64_t offset, std::uint64_t bytes) const;

  const std::shared_ptr<Fetcher> fetcher_;
  const std::shared_ptr<PieceTable> pieces_;
  const std::uint64_t most_ahead_;
  mutable std::mutex mutex_;
  mutable Front front_;  // guarded
};

}  // namespace lockstep::remote
