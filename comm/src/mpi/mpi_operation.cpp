// SPDX-License-Identifier: Apache-2.0
#include "mpi_operation.hpp"

#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "mpi_check.hpp"

namespace lockstep::comm::mpi {
namespace {

constexpr std::size_t kLargestMessage = std::size_t{1} << 30;  // MPI counts are int
constexpr std::int64_t kReduceChunk = 1 << 15;                 // elements between two looks at the clock
constexpr std::uint64_t kTagsInFlight = 1 << 13;               // MPI guarantees tags up to 32767

}  // namespace

std::vector<std::byte> StagingPool::take(std::size_t bytes) {
  const auto fits = [&](const auto& memory) { return memory.size() >= bytes; };
  const auto found = std::find_if(free_.begin(), free_.end(), fits);
  if (found == free_.end()) return std::vector<std::byte>(bytes);
  std::vector<std::byte> memory = std::move(*found);
  free_.erase(found);
  return memory;
}

void StagingPool::give_back(std::vector<std::byte> memory) {
  if (!memory.empty()) free_.push_back(std::move(memory));
}

MpiOperation::MpiOperation(MPI_Comm comm, int rank, int world_size, StagingPool& pool, const Request& request)
    : comm_(comm),
      rank_(rank),
      world_size_(world_size),
      pool_(pool),
      partials_(request.partials.begin(), request.partials.end()),
      request_(request),
      element_bytes_(size_of(request_.call.dtype)) {
  request_.partials = partials_;
  post_headers();
}

MpiOperation::~MpiOperation() { pool_.give_back(std::move(staging_)); }

bool MpiOperation::is_reduction() const noexcept {
  return request_.call.kind == Kind::all_reduce || request_.call.kind == Kind::reduce_scatter;
}

std::size_t MpiOperation::part_bytes() const noexcept {
  return static_cast<std::size_t>(request_.call.elements) * element_bytes_;
}

Range MpiOperation::slice_of(int rank) const noexcept {
  const std::int64_t elements = request_.call.elements;
  if (request_.call.kind == Kind::reduce_scatter) return {rank * elements, (rank + 1) * elements};
  return even_split(elements, world_size_, rank);
}

std::vector<Range> MpiOperation::partials_of(int rank) const {
  return subtrees_in(even_split(request_.call.leaves, world_size_, rank), request_.call.leaves);
}

// The same answer on every rank, whose numbers of partial sums differ.
bool MpiOperation::payload_is_inline() const {
  std::size_t bytes = part_bytes();
  if (bytes > Header::kInlineBytes) return false;
  if (!is_reduction()) return true;
  if (request_.call.kind == Kind::reduce_scatter) bytes *= static_cast<std::size_t>(world_size_);
  std::size_t most = 1;
  for (int rank = 0; rank < world_size_; ++rank) most = std::max(most, partials_of(rank).size());
  return bytes * most <= Header::kInlineBytes;
}

int MpiOperation::tag(bool header) const noexcept {
  return static_cast<int>(request_.call.sequence % kTagsInFlight) * 2 + (header ? 0 : 1);
}

void MpiOperation::post_headers() {
  own_header_.call = request_.call;
  if (payload_is_inline()) {
    std::byte* to = own_header_.payload.data();
    if (is_reduction()) {
      const std::size_t bytes =
          part_bytes() * static_cast<std::size_t>(request_.call.kind == Kind::reduce_scatter ? world_size_ : 1);
      for (const Partial& partial : request_.partials) {
        if (bytes > 0) std::memcpy(to, partial.data, bytes);
        to += bytes;
      }
    } else if (request_.input != nullptr && part_bytes() > 0) {
      std::memcpy(to, request_.input, part_bytes());
    }
  }
  peer_headers_.resize(static_cast<std::size_t>(world_size_));
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer == rank_) continue;
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(&peer_headers_[static_cast<std::size_t>(peer)], sizeof(Header), MPI_BYTE, peer, tag(true), comm_,
                    &request),
          "MPI_Irecv");
    requests_.push_back(request);
    request_peers_.push_back(peer);
    check(MPI_Isend(&own_header_, sizeof(Header), MPI_BYTE, peer, tag(true), comm_, &request), "MPI_Isend");
    requests_.push_back(request);
    request_peers_.push_back(peer);
  }
}

void MpiOperation::compare_headers() {
  for (int peer = 0; peer < world_size_; ++peer) {
    const Call& other = peer_headers_[static_cast<std::size_t>(peer)].call;
    if (peer == rank_ || other == request_.call) continue;
    throw BackendFailure{peer < rank_ ? mismatch(peer, other, rank_, request_.call)
                                      : mismatch(rank_, request_.call, peer, other)};
  }
}

void MpiOperation::send(const std::byte* data, std::size_t bytes, int peer) {
  for (std::size_t sent = 0; sent < bytes; sent += kLargestMessage) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int count = static_cast<int>(std::min(kLargestMessage, bytes - sent));
    check(MPI_Isend(data + sent, count, MPI_BYTE, peer, tag(false), comm_, &request), "MPI_Isend");
    requests_.push_back(request);
    request_peers_.push_back(peer);
  }
}

void MpiOperation::receive(std::byte* data, std::size_t bytes, int peer) {
  for (std::size_t received = 0; received < bytes; received += kLargestMessage) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int count = static_cast<int>(std::min(kLargestMessage, bytes - received));
    check(MPI_Irecv(data + received, count, MPI_BYTE, peer, tag(false), comm_, &request), "MPI_Irecv");
    requests_.push_back(request);
    request_peers_.push_back(peer);
  }
}

bool MpiOperation::requests_done() {
  if (requests_.empty()) return true;
  int completed = 0;
  std::vector<int> indices(requests_.size());
  check(MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &completed, indices.data(),
                     MPI_STATUSES_IGNORE),
        "MPI_Testsome");
  const auto open = [](MPI_Request request) { return request != MPI_REQUEST_NULL; };
  if (std::any_of(requests_.begin(), requests_.end(), open)) return false;
  requests_.clear();
  request_peers_.clear();
  return true;
}

void MpiOperation::start_data() {
  const Call& call = request_.call;
  if (call.kind == Kind::barrier) {
    phase_ = Phase::done;
  } else if (payload_is_inline()) {
    finish_inline();
  } else if (is_reduction()) {
    start_inputs();
  } else {
    phase_ = Phase::results;
    for (int peer = 0; peer < world_size_; ++peer) {
      if (peer == rank_) continue;
      const bool gather = call.kind == Kind::all_gather;
      if (gather || peer == call.root) {
        receive(request_.output + (gather ? static_cast<std::size_t>(peer) * part_bytes() : 0), part_bytes(), peer);
      }
      if (gather || rank_ == call.root) send(request_.input, part_bytes(), peer);
    }
    if (call.kind == Kind::all_gather) {
      std::memcpy(request_.output + static_cast<std::size_t>(rank_) * part_bytes(), request_.input, part_bytes());
    }
  }
}

// Everything is here already: in our memory and in the headers.
void MpiOperation::finish_inline() {
  phase_ = Phase::done;
  const Call& call = request_.call;
  if (part_bytes() == 0) return;
  const auto payload = [&](int rank) {
    return rank == rank_ ? own_header_.payload.data() : peer_headers_[static_cast<std::size_t>(rank)].payload.data();
  };
  if (call.kind == Kind::broadcast) {
    std::memmove(request_.output, payload(call.root), part_bytes());
  } else if (call.kind == Kind::all_gather) {
    for (int rank = 0; rank < world_size_; ++rank) {
      std::memcpy(request_.output + static_cast<std::size_t>(rank) * part_bytes(), payload(rank), part_bytes());
    }
  } else {
    const bool scatter = call.kind == Kind::reduce_scatter;
    const std::size_t stride = part_bytes() * static_cast<std::size_t>(scatter ? world_size_ : 1);
    const std::size_t offset = scatter ? static_cast<std::size_t>(rank_) * part_bytes() : 0;
    std::vector<Partial> partials;
    for (int rank = 0; rank < world_size_; ++rank) {
      const std::byte* data = payload(rank) + offset;
      for (const Range& leaves : partials_of(rank)) {
        inputs_.push_back(data);
        partials.push_back({.first_leaf = leaves.first, .leaves = leaves.size()});
        data += stride;
      }
    }
    reduce_slice(inputs_, combines_after(partials, call.leaves), call.elements, call.dtype, call.op, call.scale,
                 request_.output);
  }
}

// Slice r of every partial sum goes to rank r.
void MpiOperation::start_inputs() {
  phase_ = Phase::inputs;
  const Range own_slice = slice_of(rank_);
  const std::size_t slice_bytes = static_cast<std::size_t>(own_slice.size()) * element_bytes_;
  std::vector<std::vector<Range>> ranges;
  std::size_t foreign = 0;
  for (int rank = 0; rank < world_size_; ++rank) {
    ranges.push_back(partials_of(rank));
    if (rank != rank_) foreign += ranges.back().size();
  }
  staging_ = pool_.take(foreign * slice_bytes);
  std::byte* place = staging_.data();
  std::vector<Partial> partials;
  for (int rank = 0; rank < world_size_; ++rank) {
    const auto& owned = ranges[static_cast<std::size_t>(rank)];
    for (std::size_t i = 0; i < owned.size(); ++i) {
      partials.push_back({.first_leaf = owned[i].first, .leaves = owned[i].size()});
      if (rank == rank_) {
        inputs_.push_back(request_.partials[i].data + static_cast<std::size_t>(own_slice.first) * element_bytes_);
      } else {
        inputs_.push_back(place);
        receive(place, slice_bytes, rank);
        place += slice_bytes;
      }
    }
    if (rank == rank_) continue;
    const Range slice = slice_of(rank);
    for (const Partial& partial : request_.partials) {
      send(partial.data + static_cast<std::size_t>(slice.first) * element_bytes_,
           static_cast<std::size_t>(slice.size()) * element_bytes_, rank);
    }
  }
  combines_ = combines_after(partials, request_.call.leaves);
}

bool MpiOperation::reduce_until(std::chrono::steady_clock::time_point slice_end) {
  const Range slice = slice_of(rank_);
  const bool scatter = request_.call.kind == Kind::reduce_scatter;
  std::byte* const output = request_.output + static_cast<std::size_t>(scatter ? 0 : slice.first) * element_bytes_;
  while (reduced_ < slice.size()) {
    const std::int64_t elements = std::min(kReduceChunk, slice.size() - reduced_);
    const std::size_t offset = static_cast<std::size_t>(reduced_) * element_bytes_;
    std::vector<const std::byte*> inputs = inputs_;
    for (const std::byte*& input : inputs) input += offset;
    reduce_slice(inputs, combines_, elements, request_.call.dtype, request_.call.op, request_.call.scale,
                 output + offset);
    reduced_ += elements;
    if (std::chrono::steady_clock::now() >= slice_end) break;
  }
  return reduced_ == slice.size();
}

// All sends of inputs are complete, so that the result may overwrite them.
void MpiOperation::start_results() {
  phase_ = Phase::results;
  if (request_.call.kind == Kind::reduce_scatter) return;
  const Range own_slice = slice_of(rank_);
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer == rank_) continue;
    const Range slice = slice_of(peer);
    receive(request_.output + static_cast<std::size_t>(slice.first) * element_bytes_,
            static_cast<std::size_t>(slice.size()) * element_bytes_, peer);
    send(request_.output + static_cast<std::size_t>(own_slice.first) * element_bytes_,
         static_cast<std::size_t>(own_slice.size()) * element_bytes_, peer);
  }
}

Advanced MpiOperation::advance(std::chrono::steady_clock::time_point slice_end) {
  const Phase before = phase_;
  const std::int64_t reduced_before = reduced_;
  if (phase_ == Phase::headers && requests_done()) {
    compare_headers();
    start_data();
  }
  if (phase_ == Phase::inputs && requests_done()) phase_ = Phase::reducing;
  if (phase_ == Phase::reducing && reduce_until(slice_end)) start_results();
  if (phase_ == Phase::results && requests_done()) phase_ = Phase::done;
  if (phase_ == Phase::done) return Advanced::fully;
  return phase_ != before || reduced_ != reduced_before ? Advanced::partly : Advanced::not_yet;
}

std::vector<int> MpiOperation::missing() const {
  std::vector<int> ranks;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) ranks.push_back(request_peers_[i]);
  }
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace lockstep::comm::mpi
