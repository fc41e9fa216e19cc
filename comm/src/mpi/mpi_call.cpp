// SPDX-License-Identifier: Apache-2.0
#include "mpi_call.hpp"

#include <algorithm>
#include <cstring>

namespace lockstep::comm::mpi {
namespace {

template <class Piece>
std::size_t total(const std::vector<Piece>& pieces) {
  std::size_t bytes = 0;
  for (const Piece& piece : pieces) bytes += piece.size();
  return bytes;
}

}  // namespace

MpiCall::MpiCall(Endpoint& endpoint, const Request& request)
    : endpoint_(endpoint),
      request_(request),
      transfers_(endpoint.comm),
      outgoing_(static_cast<std::size_t>(endpoint.world_size)),
      incoming_(outgoing_.size()),
      element_bytes_(size_of(request.call.dtype)),
      own_headers_(outgoing_.size()),
      peer_headers_(outgoing_.size()) {}

void MpiCall::post_headers() {
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    const std::size_t bytes = total(outgoing_[p]);
    Header& header = own_headers_[p];
    header.call = request_.call;
    header.sent = static_cast<std::int64_t>(bytes / element_bytes_);
    header.expected = static_cast<std::int64_t>(total(incoming_[p]) / element_bytes_);
    if (peer == rank()) continue;
    const bool fits = bytes <= Header::kInlineBytes;
    std::byte* to = header.payload.data();
    for (const auto& piece : outgoing_[p]) {
      if (!fits || piece.empty()) continue;
      std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
    transfers_.receive(peer_headers_[p].whole(), peer, call_tag(request_.call.sequence));
    transfers_.send(header.written(fits ? bytes : 0), peer, call_tag(request_.call.sequence));
  }
}

void MpiCall::compare_headers() const {
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    const Header& own = own_headers_[p];
    const Header& other = peer == rank() ? own : peer_headers_[p];
    if (!(other.call == own.call)) {
      throw BackendFailure{peer < rank() ? mismatch(peer, other.call, rank(), own.call)
                                         : mismatch(rank(), own.call, peer, other.call)};
    }
    if (other.sent != own.expected)
      throw BackendFailure{unequal_parts(peer, other.sent, rank(), own.expected, own.call)};
    if (own.sent != other.expected)
      throw BackendFailure{unequal_parts(rank(), own.sent, peer, other.expected, own.call)};
  }
}

void MpiCall::start_data() {
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    if (peer == rank()) {
      copy_own();
      continue;
    }
    if (total(incoming_[p]) <= Header::kInlineBytes) {
      take_from_header(peer);
    } else {
      for (const auto& place : incoming_[p]) transfers_.receive(place, peer, data_tag());
    }
    if (total(outgoing_[p]) <= Header::kInlineBytes) continue;
    for (const auto& piece : outgoing_[p]) transfers_.send(piece, peer, data_tag());
  }
}

void MpiCall::take_from_header(int peer) {
  const auto p = static_cast<std::size_t>(peer);
  const std::byte* from = peer_headers_[p].payload.data();
  for (const auto& place : incoming_[p]) {
    if (place.empty()) continue;
    std::memcpy(place.data(), from, place.size());
    from += place.size();
  }
}

void MpiCall::copy_own() {
  const auto self = static_cast<std::size_t>(rank());
  for (std::size_t i = 0; i < incoming_[self].size(); ++i) {
    const auto& place = incoming_[self][i];
    const auto& piece = outgoing_[self][i];
    if (place.data() != piece.data() && !place.empty()) std::memcpy(place.data(), piece.data(), place.size());
  }
}

Advanced MpiCall::finish_until(std::chrono::steady_clock::time_point) { return Advanced::fully; }

Advanced MpiCall::advance(std::chrono::steady_clock::time_point slice_end) {
  auto moved = Advanced::not_yet;
  if (phase_ == Phase::headers) {
    if (!transfers_.done()) return moved;
    compare_headers();
    start_data();
    phase_ = Phase::data;
    moved = Advanced::partly;
  }
  if (phase_ == Phase::data) {
    if (!transfers_.done()) return moved;
    phase_ = Phase::finishing;
    moved = Advanced::partly;
  }
  return std::max(moved, finish_until(slice_end));
}

MpiMove::MpiMove(Endpoint& endpoint, const Request& request) : MpiCall(endpoint, request) {
  const Moves moves = moves_of(request, rank(), world_size());
  for (std::size_t peer = 0; peer < outgoing_.size(); ++peer) {
    const Range out = moves.outgoing[peer];
    const Range in = moves.incoming[peer];
    if (!out.empty()) outgoing_[peer].push_back({request.input + bytes_of(out.first), bytes_of(out.size())});
    if (!in.empty()) incoming_[peer].push_back({request.output + bytes_of(in.first), bytes_of(in.size())});
  }
}

}  // namespace lockstep::comm::mpi
