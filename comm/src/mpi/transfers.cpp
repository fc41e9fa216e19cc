// SPDX-License-Identifier: Apache-2.0
#include "transfers.hpp"

#include <algorithm>

#include "mpi_check.hpp"

namespace lockstep::comm::mpi {
namespace {

constexpr std::size_t kLargestMessage = std::size_t{1} << 30;  // MPI counts are int

// The parts of `data` that one message each carries.
template <class Byte, class Post>
void in_messages(std::span<Byte> data, Post post) {
  for (std::size_t first = 0; first < data.size(); first += kLargestMessage) {
    const std::size_t bytes = std::min(kLargestMessage, data.size() - first);
    post(data.data() + first, static_cast<int>(bytes));
  }
}

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

void Transfers::send(std::span<const std::byte> data, int peer, int tag) {
  in_messages(data, [&](const std::byte* part, int bytes) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    peers_.push_back(peer);
    check(MPI_Isend(part, bytes, MPI_BYTE, peer, tag, comm_, &request), "MPI_Isend");
  });
}

void Transfers::receive(std::span<std::byte> data, int peer, int tag) {
  in_messages(data, [&](std::byte* part, int bytes) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    peers_.push_back(peer);
    check(MPI_Irecv(part, bytes, MPI_BYTE, peer, tag, comm_, &request), "MPI_Irecv");
  });
}

bool Transfers::done() {
  if (requests_.empty()) return true;
  int completed = 0;
  std::vector<int> indices(requests_.size());
  check(MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &completed, indices.data(),
                     MPI_STATUSES_IGNORE),
        "MPI_Testsome");
  const auto open = [](MPI_Request request) { return request != MPI_REQUEST_NULL; };
  if (std::any_of(requests_.begin(), requests_.end(), open)) return false;
  requests_.clear();
  peers_.clear();
  return true;
}

std::vector<int> Transfers::peers() const {
  std::vector<int> ranks;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) ranks.push_back(peers_[i]);
  }
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace lockstep::comm::mpi
