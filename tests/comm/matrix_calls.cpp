// SPDX-License-Identifier: Apache-2.0
#include "comm/matrix_calls.hpp"

#include <numeric>

namespace lockstep::testing {
namespace {

using comm::Kind;

// Elements of each rank's part. With parts of different sizes, rank 0 and every third one after it have nothing.
std::vector<std::int64_t> parts_of(const MatrixCell& cell, int ranks) {
  std::vector<std::int64_t> parts(static_cast<std::size_t>(ranks), (cell.elements + ranks - 1) / ranks);
  if (!cell.parts) return parts;
  std::int64_t left = cell.elements;
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    parts[rank] = cell.elements * static_cast<std::int64_t>(rank % 3) / (2 * ranks);
    left -= parts[rank];
  }
  parts.back() += left;
  return parts;
}

std::int64_t sum(const std::vector<std::int64_t>& parts, int ranks) {  // of the first so many
  return std::accumulate(parts.begin(), parts.begin() + ranks, std::int64_t{0});
}

// What rank `from` sends to rank `to` in an all_to_all. With parts, a third of the pairs exchange nothing.
std::int64_t sent(const MatrixCell& cell, int ranks, int from, int to) {
  return cell.parts ? cell.elements * ((from + 2 * to + 1) % 3) / (2 * ranks) : (cell.elements + ranks - 1) / ranks;
}

Work all_to_all_in_parts(Communicator& world, const MatrixCell& cell, std::byte* input, std::byte* output) {
  std::vector<std::int64_t> to;
  std::vector<std::int64_t> from;
  for (int peer = 0; peer < world.world_size(); ++peer) {
    to.push_back(sent(cell, world.world_size(), world.rank(), peer));
    from.push_back(sent(cell, world.world_size(), peer, world.rank()));
  }
  return world.all_to_all(output, from, input, to, cell.dtype);
}

Work start_one(Communicator& world, const MatrixCell& cell, int root, Buffer given, Buffer wanted) {
  const std::vector<std::int64_t> parts = parts_of(cell, world.world_size());
  const CollectiveOptions scaled{.scale = cell.scale};
  auto* const input = static_cast<std::byte*>(given.data);
  auto* const output = static_cast<std::byte*>(wanted.data);
  switch (cell.kind) {
    case Kind::all_reduce:
      return world.all_reduce(wanted, input, cell.op, scaled);
    case Kind::reduce:
      return world.reduce({output, given.elements, given.dtype}, input, root, cell.op, scaled);
    case Kind::reduce_scatter:
      return cell.parts ? world.reduce_scatter(wanted, input, parts, cell.op, scaled)
                        : world.reduce_scatter(wanted, input, cell.op, scaled);
    case Kind::broadcast:
      return world.broadcast(given, root);
    case Kind::all_gather:
      return cell.parts ? world.all_gather(output, given, parts) : world.all_gather(output, given);
    case Kind::gather:
      return cell.parts ? world.gather(output, given, parts, root) : world.gather(output, given, root);
    case Kind::scatter:
      return cell.parts ? world.scatter(wanted, input, parts, root) : world.scatter(wanted, input, root);
    case Kind::all_to_all:
      return cell.parts ? all_to_all_in_parts(world, cell, input, output) : world.all_to_all(output, given);
    case Kind::receive:
      return world.receive(wanted, (world.rank() + world.world_size() - 1) % world.world_size());
    case Kind::send:
    case Kind::barrier:
      break;
  }
  return world.send(given, (world.rank() + 1) % world.world_size());
}

}  // namespace

Effect effect_of(const MatrixCell& cell, int rank, int ranks, int root) {
  const std::vector<std::int64_t> parts = parts_of(cell, ranks);
  const std::int64_t own = parts[static_cast<std::size_t>(rank)];
  Effect effect{.input = cell.elements};
  const auto take = [&](int from, std::int64_t first, std::int64_t elements) {
    effect.blocks.push_back({effect.output, from, first, elements});
    effect.output += elements;
  };
  switch (cell.kind) {
    case Kind::all_reduce:
    case Kind::reduce:
      if (cell.kind == Kind::all_reduce || rank == root) take(Effect::kReduction, 0, cell.elements);
      break;
    case Kind::reduce_scatter:
      effect.input = sum(parts, ranks);
      take(Effect::kReduction, sum(parts, rank), own);
      break;
    case Kind::broadcast:
      take(root, 0, cell.elements);
      break;
    case Kind::all_gather:
    case Kind::gather:
      effect.input = own;
      for (int from = 0; from < ranks; ++from) {
        if (cell.kind == Kind::all_gather || rank == root) take(from, 0, parts[static_cast<std::size_t>(from)]);
      }
      break;
    case Kind::scatter:
      effect.input = rank == root ? sum(parts, ranks) : 0;
      take(root, sum(parts, rank), own);
      break;
    case Kind::all_to_all:
      effect.input = 0;
      for (int from = 0; from < ranks; ++from) {
        std::int64_t first = 0;
        for (int to = 0; to < rank; ++to) first += sent(cell, ranks, from, to);
        take(from, first, sent(cell, ranks, from, rank));
        effect.input += sent(cell, ranks, rank, from);
      }
      break;
    case Kind::send:
    case Kind::receive:  // around a ring
      take((rank + ranks - 1) % ranks, 0, cell.elements);
      break;
    case Kind::barrier:
      effect.input = 0;
  }
  return effect;
}

std::vector<Work> start_call(Communicator& world, const MatrixCell& cell, int root, std::byte* input,
                             std::byte* output) {
  const Effect effect = effect_of(cell, world.rank(), world.world_size(), root);
  const Buffer given{input, effect.input, cell.dtype};
  const Buffer wanted{output, effect.output, cell.dtype};
  std::vector<Work> works;
  works.push_back(start_one(world, cell, root, given, wanted));
  if (cell.kind == Kind::send) {
    MatrixCell back = cell;
    back.kind = Kind::receive;
    works.push_back(start_one(world, back, root, given, wanted));
  }
  return works;
}

}  // namespace lockstep::testing
