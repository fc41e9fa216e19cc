// SPDX-License-Identifier: Apache-2.0
#include "mpi_message.hpp"

#include <cstring>

namespace lockstep::comm::mpi {
namespace {

std::size_t bytes_of(const Call& call) { return static_cast<std::size_t>(call.elements) * size_of(call.dtype); }

}  // namespace

MpiMessage::MpiMessage(Endpoint& endpoint, const Request& request)
    : endpoint_(endpoint),
      request_(request),
      peer_(request.call.root),
      sends_(request.call.kind == Kind::send),
      bytes_(bytes_of(request.call)),
      transfers_(endpoint.comm) {
  own_header_.call = request_.call;
  const bool small = bytes_ <= Header::kInlineBytes;
  if (!sends_) {
    transfers_.receive(peer_header_.whole(), peer_, tag(from_sender));
    if (!small) answer();
    return;
  }
  if (small && bytes_ > 0) std::memcpy(own_header_.payload.data(), request_.input, bytes_);
  if (!small) transfers_.receive(peer_header_.whole(), peer_, tag(from_receiver));
  transfers_.send(own_header_.written(small ? bytes_ : 0), peer_, tag(from_sender));
}

void MpiMessage::answer() {
  answered_ = true;
  transfers_.send(own_header_.written(0), peer_, tag(from_receiver));
}

void MpiMessage::compare() const {
  const Call& other = peer_header_.call;
  if (agree(request_.call, other)) return;
  throw BackendFailure{sends_ ? mismatch(endpoint_.rank, request_.call, peer_, other)
                              : mismatch(peer_, other, endpoint_.rank, request_.call)};
}

// The headers are here. True: so is all of the message.
bool MpiMessage::start_data() {
  const bool small = bytes_ <= Header::kInlineBytes;
  if (sends_ && small) return true;
  // A sender of more than we expect waits for an answer too.
  if (!sends_ && !answered_ && bytes_of(peer_header_.call) > Header::kInlineBytes) answer();
  compare();
  if (small && bytes_ > 0) std::memcpy(request_.output, peer_header_.payload.data(), bytes_);
  if (small) return true;
  if (sends_) {
    transfers_.send({request_.input, bytes_}, peer_, tag(data));
  } else {
    transfers_.receive({request_.output, bytes_}, peer_, tag(data));
  }
  return false;
}

Advanced MpiMessage::advance(std::chrono::steady_clock::time_point) {
  if (!transfers_.done()) return Advanced::not_yet;
  if (phase_ == Phase::data || start_data()) return Advanced::fully;
  phase_ = Phase::data;
  return Advanced::partly;
}

}  // namespace lockstep::comm::mpi
