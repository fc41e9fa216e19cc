// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "mailbox.hpp"
#include "shm_backend.hpp"

namespace lockstep::comm::shm {

// One side of a message between two ranks. By its size and where the sender's memory lies it travels
//   inline     in the letter                            } kept for the receiver: the sender is done once it is
//   published enclosed   in a place that belongs to the letter    } directly   the receiver copies out of the sender's
//   arena staged     chunk by chunk through a ring in the sender's arena
class ShmMessage : public Operation {
 public:
  ShmMessage(ShmBackend& backend, const Request& request, std::uint64_t index);
  [[nodiscard]] std::vector<int> missing() const final { return {peer_}; }

 protected:
  [[nodiscard]] std::byte* memory_of(int rank, std::uint64_t place) const {
    return backend_.group_->memory_of(rank, place);
  }
  [[nodiscard]] Mailbox& own_mailbox() const { return backend_.mailbox(backend_.rank(), peer_); }
  [[nodiscard]] Mailbox& peer_mailbox() const { return backend_.mailbox(peer_, backend_.rank()); }
  [[nodiscard]] Correspondence& correspondence() const { return backend_.correspondence(peer_); }
  [[nodiscard]] HostGroup& group() const { return *backend_.group_; }
  [[nodiscard]] std::uint64_t content() const noexcept;
  [[noreturn]] void throw_mismatch(std::uint64_t content_of_peer) const;
  // Of chunk `chunk` of the message.
  [[nodiscard]] std::size_t bytes_of(std::uint64_t chunk) const noexcept;
  [[nodiscard]] std::byte* cell(int sender, std::uint64_t ring, std::uint64_t chunk) const;

  ShmBackend& backend_;
  const Call call_;
  const int peer_;
  const std::uint64_t index_;  // of this pair's messages in this direction
  const std::size_t bytes_;
  std::uint64_t chunks_ = 0;  // in all; 0: not staged
  std::uint64_t moved_ = 0;   // chunks that this side is done with
  std::uint64_t base_ = 0;    // chunks of the messages before
};

class ShmSend final : public ShmMessage {
 public:
  ShmSend(ShmBackend& backend, const Request& request);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;

 private:
  [[nodiscard]] bool try_publish();
  void fill(Letter& letter);
  [[nodiscard]] std::uint64_t ours(std::uint64_t& place, std::size_t bytes);  // allocated when first needed
  void throw_if_refused() const;
  [[nodiscard]] bool copy_in_until(std::chrono::steady_clock::time_point slice_end);

  const std::byte* input_;
  bool direct_ = false;
  bool published_ = false;
};

class ShmReceive final : public ShmMessage {
 public:
  ShmReceive(ShmBackend& backend, const Request& request);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;

 private:
  [[nodiscard]] bool open_letter();
  void refuse(std::uint64_t content_of_peer);
  [[nodiscard]] bool copy_until(std::chrono::steady_clock::time_point slice_end);
  [[nodiscard]] bool copy_out_until(std::chrono::steady_clock::time_point slice_end);

  std::byte* output_;
  Enclosure enclosure_;
  bool opened_ = false;
  std::size_t position_ = 0;  // bytes that have been copied directly
};

}  // namespace lockstep::comm::shm
