// SPDX-License-Identifier: Apache-2.0
#include "moves.hpp"

#include <algorithm>
#include <span>

namespace lockstep::comm {
namespace {

// Parts of the given sizes, or of `elements` each, one behind the other.
std::vector<Range> in_a_row(std::span<const std::int64_t> sizes, std::int64_t elements, int world_size) {
  std::vector<Range> ranges;
  std::int64_t first = 0;
  for (int rank = 0; rank < world_size; ++rank) {
    const std::int64_t size = sizes.empty() ? elements : sizes[static_cast<std::size_t>(rank)];
    ranges.push_back({first, first + size});
    first += size;
  }
  return ranges;
}

}  // namespace

Range slice_of(Range elements, int slices, int index, std::size_t unit) {
  const auto size = static_cast<std::int64_t>(unit);
  const Range units = even_split((elements.size() + size - 1) / size, slices, index);
  return {elements.first + std::min(units.first * size, elements.size()),
          elements.first + std::min(units.last * size, elements.size())};
}

std::vector<Range> rows_of(const Request& request, int world_size) {
  return in_a_row(request.parts, request.call.elements, world_size);
}

Moves moves_of(const Request& request, int rank, int world_size) {
  const Call& call = request.call;
  const std::size_t ranks = static_cast<std::size_t>(world_size);
  const auto self = static_cast<std::size_t>(rank);
  const auto root = static_cast<std::size_t>(call.root);
  Moves moves{.outgoing = std::vector<Range>(ranks), .incoming = std::vector<Range>(ranks)};
  const std::vector<Range> parts = in_a_row(request.parts, call.elements, world_size);
  const Range own{0, parts[self].size()};
  switch (call.kind) {
    case Kind::broadcast:
      if (rank == call.root) moves.outgoing.assign(ranks, {0, call.elements});
      moves.incoming[root] = {0, call.elements};
      break;
    case Kind::all_gather:
      moves.outgoing.assign(ranks, own);
      moves.incoming = parts;
      break;
    case Kind::gather:
      moves.outgoing[root] = own;
      if (rank == call.root) moves.incoming = parts;
      break;
    case Kind::scatter:
      if (rank == call.root) moves.outgoing = parts;
      moves.incoming[root] = own;
      break;
    case Kind::all_to_all:
      moves.outgoing = parts;
      moves.incoming = in_a_row(request.received_parts, call.elements, world_size);
      break;
    case Kind::send:
      moves.outgoing[root] = {0, call.elements};
      break;
    case Kind::receive:
      moves.incoming[root] = {0, call.elements};
      break;
    case Kind::all_reduce:
    case Kind::reduce_scatter:
    case Kind::reduce:
    case Kind::barrier:
      break;
  }
  return moves;
}

}  // namespace lockstep::comm
