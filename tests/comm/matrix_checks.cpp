// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <tuple>

#include "comm/matrix.hpp"
#include "comm/matrix_calls.hpp"
#include "comm/matrix_memory.hpp"
#include "comm/oracle.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

// What all ranks put into a call, and the reduction of it.
struct Data {
  std::vector<Bytes> inputs;
  Bytes result;
};

// Kept for the cells that differ in other factors, and for the other ranks of this process.
std::shared_ptr<const Data> data_of(const MatrixCell& cell, int ranks) {
  static std::mutex mutex;
  static std::shared_ptr<const Data> last;
  static std::tuple<bool, DType, ReduceOp, double, std::int64_t, int> last_key;
  const bool reduces = comm::is_reduction(cell.kind);
  const std::tuple key{reduces, cell.dtype, cell.op, cell.scale, cell.elements, ranks};
  const std::lock_guard lock(mutex);
  if (last && key == last_key) return last;
  auto made = std::make_shared<Data>();
  for (int rank = 0; rank < ranks; ++rank) {  // parts are rounded up
    made->inputs.push_back(random_values(cell.dtype, cell.elements + ranks, static_cast<std::uint64_t>(rank)));
  }
  const double scale = cell.op == ReduceOp::avg ? cell.scale / ranks : cell.scale;
  if (reduces) made->result = reduce_by_oracle(cell.dtype, cell.op, scale, made->inputs);
  last_key = key;
  last = made;
  return last;
}

void check_cell(Communicator& world, Workspace& workspace, const MatrixCell& cell, int root) {
  const auto data = data_of(cell, world.world_size());
  const Effect effect = effect_of(cell, world.rank(), world.world_size(), root);
  Field input(workspace, cell, false, effect.input);
  Field other(workspace, cell, true, effect.output);
  input.fill(data->inputs[static_cast<std::size_t>(world.rank())]);
  const bool in_place = cell.in_place || cell.kind == comm::Kind::broadcast;
  Field& output = in_place ? input : other;
  const std::int64_t place = in_place && !effect.blocks.empty() ? effect.blocks[0].first : 0;
  for (Work& work : start_call(world, cell, root, input.at(0), output.at(place))) work.wait();
  for (const Effect::Block& block : effect.blocks) {
    const Bytes& from =
        block.from == Effect::kReduction ? data->result : data->inputs[static_cast<std::size_t>(block.from)];
    output.expect(place + block.at, from.data() + static_cast<std::size_t>(block.first) * size_of(cell.dtype),
                  block.elements);
  }
  input.check(cell, "the input");
  other.check(cell, "the output");
}

}  // namespace

void check_cells(Communicator& world, const std::vector<MatrixCell>& cells) {
  Workspace workspace(world);
  int root = 0;
  for (const MatrixCell& cell : cells) {
    root = (root + 1) % world.world_size();
    check_cell(world, workspace, cell, root);
  }
  world.barrier();  // a root may be done while others still read
}

void check_refusals(Communicator& world) {
  std::vector<std::byte> memory(static_cast<std::size_t>(world.world_size()) * 8);
  for (const DType dtype : kDTypes) {
    const Buffer one{memory.data(), 1, dtype};
    for (const ReduceOp op : kOps) {
      if (has_meaning(dtype, op)) continue;
      SCOPED_TRACE(std::string(name_of(op)) + " of " + std::string(name_of(dtype)));
      EXPECT_THROW((void)world.all_reduce(one, op), UsageError);
      EXPECT_THROW((void)world.reduce(one, memory.data(), 0, op), UsageError);
      EXPECT_THROW((void)world.reduce_scatter(one, memory.data(), op), UsageError);
    }
    if (is_floating(dtype)) continue;
    EXPECT_THROW((void)world.all_reduce(one, ReduceOp::max, {.scale = 0.5}), UsageError);
  }
  world.barrier();
}

}  // namespace lockstep::testing
