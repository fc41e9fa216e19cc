// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// What a call without a reduction moves, seen from one rank, in elements: outgoing[p] of its input go to rank p,
// incoming[p] of its output come from rank p (itself included). Ranges of nothing are empty.
struct Moves {
  std::vector<Range> outgoing;
  std::vector<Range> incoming;
};
[[nodiscard]] Moves moves_of(const Request& request, int rank, int world_size);

// Slices of memory that several ranks read and write begin at pages: the prefetcher of a rank that reads up to a
// slice's end runs on to the end of the page, and takes from its peer what that one is writing.
inline constexpr std::size_t kPageBytes = 4096;

// Slice `index` of `slices` of these elements, which begin at multiples of `unit`, counted from the first.
[[nodiscard]] Range slice_of(Range elements, int slices, int index, std::size_t unit);

// A reduce_scatter's rows, by rank.
[[nodiscard]] std::vector<Range> rows_of(const Request& request, int world_size);

// A send of at most so much is done before its receive is called: the backend keeps the bytes for the receiver.
inline constexpr std::size_t kKeptBytes = 448;

// Whether a send and its receive fit together.
[[nodiscard]] inline bool agree(const Call& send, const Call& receive) noexcept {
  return send.dtype == receive.dtype && send.elements == receive.elements;
}

}  // namespace lockstep::comm
