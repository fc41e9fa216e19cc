// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <numeric>
#include <tuple>

#include "comm/matrix.hpp"
#include "comm/matrix_memory.hpp"
#include "comm/oracle.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using comm::Kind;

// Elements of each rank's part.
std::vector<std::int64_t> parts_of(const MatrixCell& cell, int ranks) {
  std::vector<std::int64_t> parts(static_cast<std::size_t>(ranks), (cell.elements + ranks - 1) / ranks);
  if (!cell.parts) return parts;
  std::int64_t left = cell.elements;
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {  // rank 0 and every third one after it: nothing
    parts[rank] = cell.elements * static_cast<std::int64_t>(rank % 3) / (2 * ranks);
    left -= parts[rank];
  }
  parts.back() += left;
  return parts;
}

std::int64_t before(const std::vector<std::int64_t>& parts, int rank) {
  return std::accumulate(parts.begin(), parts.begin() + rank, std::int64_t{0});
}
std::int64_t total(const std::vector<std::int64_t>& parts) { return before(parts, static_cast<int>(parts.size())); }

// What all ranks put into a reduction, and what comes of it.
struct Reduction {
  std::vector<Bytes> inputs;
  Bytes result;
};

// Kept for the cells that differ only in memory, and for the other ranks of this process.
std::shared_ptr<const Reduction> reduction_of(const MatrixCell& cell, int ranks) {
  static std::mutex mutex;
  static std::shared_ptr<const Reduction> last;
  static std::tuple<DType, ReduceOp, double, std::int64_t, int> last_key;
  const std::tuple key{cell.dtype, cell.op, cell.scale, cell.elements, ranks};
  const std::lock_guard lock(mutex);
  if (last && key == last_key) return last;
  auto made = std::make_shared<Reduction>();
  const std::int64_t elements = (cell.elements + ranks - 1) / ranks * ranks;
  for (int rank = 0; rank < ranks; ++rank) {
    made->inputs.push_back(random_values(cell.dtype, elements, static_cast<std::uint64_t>(rank)));
  }
  const double scale = cell.op == ReduceOp::avg ? cell.scale / ranks : cell.scale;
  made->result = reduce_by_oracle(cell.dtype, cell.op, scale, made->inputs);
  last_key = key;
  last = made;
  return last;
}

void check_reduction(Communicator& world, Workspace& workspace, const MatrixCell& cell, int root) {
  const auto data = reduction_of(cell, world.world_size());
  const bool scatters = cell.kind == Kind::reduce_scatter;
  const std::vector<std::int64_t> parts = parts_of(cell, world.world_size());
  const std::int64_t elements = scatters ? total(parts) : cell.elements;
  const std::int64_t first = scatters ? before(parts, world.rank()) : 0;
  const std::int64_t results = scatters ? parts[static_cast<std::size_t>(world.rank())] : elements;
  Field input(workspace, cell, false, elements);
  Field other(workspace, cell, true, results);
  input.fill(data->inputs[static_cast<std::size_t>(world.rank())]);
  const std::int64_t place = cell.in_place ? first : 0;  // a rank's own part, in place, is where it is in the input
  Field& output = cell.in_place ? input : other;
  const Buffer to{output.at(place), results, cell.dtype};
  const CollectiveOptions options{.scale = cell.scale};
  if (cell.kind == Kind::all_reduce) {
    world.all_reduce(to, input.at(0), cell.op, options).wait();
  } else if (cell.kind == Kind::reduce) {
    world.reduce(to, input.at(0), root, cell.op, options).wait();
  } else if (cell.parts) {
    world.reduce_scatter(to, input.at(0), parts, cell.op, options).wait();
  } else {
    world.reduce_scatter(to, input.at(0), cell.op, options).wait();
  }
  if (cell.kind != Kind::reduce || world.rank() == root)
    output.expect(place, data->result.data() + static_cast<std::size_t>(first) * size_of(cell.dtype), results);
  input.check(cell, "the input");
  other.check(cell, "the output");
}

// What rank `from` sends to rank `to` in an all_to_all with parts; a third of the pairs exchange nothing.
std::int64_t sent_by(const MatrixCell& cell, int ranks, int from, int to) {
  return cell.elements * ((from + 2 * to + 1) % 3) / (2 * ranks);
}

// A rank's input and what its output must be, in elements of all ranks' inputs.
struct Moved {
  struct Block {
    std::int64_t at;     // in the output
    int from;            // whose input
    std::int64_t first;  // there
    std::int64_t elements;
  };
  std::int64_t input = 0;
  std::int64_t output = 0;
  std::vector<Block> blocks{};
};

Moved moved_by(const MatrixCell& cell, int rank, int ranks, int root) {
  const std::vector<std::int64_t> parts = parts_of(cell, ranks);
  const std::int64_t own = parts[static_cast<std::size_t>(rank)];
  Moved moved;
  const auto take = [&](int from, std::int64_t first, std::int64_t elements) {
    moved.blocks.push_back({moved.output, from, first, elements});
    moved.output += elements;
  };
  switch (cell.kind) {
    case Kind::broadcast:
      moved.input = cell.elements;
      take(root, 0, cell.elements);
      break;
    case Kind::all_gather:
    case Kind::gather:
      moved.input = own;
      if (cell.kind == Kind::gather && rank != root) break;
      for (int from = 0; from < ranks; ++from) take(from, 0, parts[static_cast<std::size_t>(from)]);
      break;
    case Kind::scatter:
      moved.input = rank == root ? total(parts) : 0;
      take(root, before(parts, rank), own);
      break;
    default: {  // all_to_all
      const auto sent = [&](int from, int to) { return cell.parts ? sent_by(cell, ranks, from, to) : own; };
      for (int from = 0; from < ranks; ++from) {
        std::int64_t first = 0;
        for (int to = 0; to < rank; ++to) first += sent(from, to);
        take(from, first, sent(from, rank));
        moved.input += sent(rank, from);
      }
    }
  }
  return moved;
}

Work start_move(Communicator& world, const MatrixCell& cell, const Moved& moved, int root, std::byte* input,
                std::byte* output) {
  const std::vector<std::int64_t> parts = parts_of(cell, world.world_size());
  const Buffer given{input, moved.input, cell.dtype};
  const Buffer wanted{output, moved.output, cell.dtype};
  switch (cell.kind) {
    case Kind::broadcast:
      return world.broadcast({input, moved.input, cell.dtype}, root);
    case Kind::all_gather:
      return cell.parts ? world.all_gather(output, given, parts) : world.all_gather(output, given);
    case Kind::gather:
      return cell.parts ? world.gather(output, given, parts, root) : world.gather(output, given, root);
    case Kind::scatter:
      return cell.parts ? world.scatter(wanted, input, parts, root) : world.scatter(wanted, input, root);
    default:
      break;
  }
  if (!cell.parts) return world.all_to_all(output, given);
  std::vector<std::int64_t> sent;
  std::vector<std::int64_t> received;
  for (int peer = 0; peer < world.world_size(); ++peer) {
    sent.push_back(sent_by(cell, world.world_size(), world.rank(), peer));
    received.push_back(sent_by(cell, world.world_size(), peer, world.rank()));
  }
  return world.all_to_all(output, received, input, sent, cell.dtype);
}

void check_move(Communicator& world, Workspace& workspace, const MatrixCell& cell, int root) {
  const Moved moved = moved_by(cell, world.rank(), world.world_size(), root);
  std::vector<Bytes> inputs;
  for (int rank = 0; rank < world.world_size(); ++rank) {
    const std::int64_t elements = moved_by(cell, rank, world.world_size(), root).input;
    inputs.push_back(random_values(cell.dtype, elements, static_cast<std::uint64_t>(rank)));
  }
  Field input(workspace, cell, false, moved.input);
  Field other(workspace, cell, true, moved.output);
  Field& output = cell.kind == Kind::broadcast ? input : other;
  input.fill(inputs[static_cast<std::size_t>(world.rank())]);
  start_move(world, cell, moved, root, input.at(0), other.at(0)).wait();
  for (const Moved::Block& block : moved.blocks) {
    const Bytes& from = inputs[static_cast<std::size_t>(block.from)];
    output.expect(block.at, from.data() + static_cast<std::size_t>(block.first) * size_of(cell.dtype), block.elements);
  }
  input.check(cell, "the input");
  other.check(cell, "the output");
}

// The calls that this backend does not carry yet.
bool is_there(const Communicator& world, const MatrixCell& cell) {
  if (world.backend_name() == "shm") return true;
  return !cell.parts && (cell.kind == Kind::all_reduce || cell.kind == Kind::reduce_scatter ||
                         cell.kind == Kind::broadcast || cell.kind == Kind::all_gather);
}

}  // namespace

void check_cells(Communicator& world, const std::vector<MatrixCell>& cells) {
  Workspace workspace(world);
  int root = 0;
  for (const MatrixCell& cell : cells) {
    if (!is_there(world, cell)) continue;
    root = (root + 1) % world.world_size();
    (comm::is_reduction(cell.kind) ? check_reduction : check_move)(world, workspace, cell, root);
  }
  world.barrier();  // peers may still read our memory
}

void check_refusals(Communicator& world) {
  std::vector<std::byte> memory(static_cast<std::size_t>(world.world_size()) * 8);
  for (const DType dtype : kDTypes) {
    const Buffer one{memory.data(), 1, dtype};
    const CollectiveOptions scaled{.scale = 0.5};
    for (const ReduceOp op : kOps) {
      if (has_meaning(dtype, op)) continue;
      EXPECT_THROW((void)world.all_reduce(one, op), UsageError) << name_of(op) << " of " << name_of(dtype);
      EXPECT_THROW((void)world.reduce(one, memory.data(), 0, op), UsageError)
          << name_of(op) << " of " << name_of(dtype);
      EXPECT_THROW((void)world.reduce_scatter(one, memory.data(), op), UsageError)
          << name_of(op) << " of " << name_of(dtype);
    }
    if (!is_floating(dtype)) {
      EXPECT_THROW((void)world.all_reduce(one, ReduceOp::max, scaled), UsageError);
    }
  }
  world.barrier();
}

}  // namespace lockstep::testing
