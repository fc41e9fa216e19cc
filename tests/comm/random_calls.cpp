// SPDX-License-Identifier: Apache-2.0
#include "comm/random_calls.hpp"

#include <optional>

namespace lockstep::testing {
namespace {

constexpr std::size_t kInFlight = 3;
constexpr DType kFloat = DType::float32;

}  // namespace

RandomCalls::RandomCalls(Communicator& world, unsigned seed)
    : world_(world), random_(seed), own_random_(seed + 1 + static_cast<unsigned>(world.rank())) {
  for (std::size_t i = 0; i < 2 * kInFlight; ++i) {
    ordinary_.emplace_back(kMost);
    shared_.push_back(world.allocate(kMost * sizeof(float)));
  }
}

std::int64_t RandomCalls::random_size(std::int64_t most) {
  const std::int64_t limits[] = {10, 300, 3000, most};
  return static_cast<std::int64_t>(random_()) % std::min(limits[random_() % 4], most);
}

void RandomCalls::make_some() {
  const std::size_t calls = 1 + random_() % kInFlight;
  std::vector<Work> works;
  for (std::size_t i = 0; i < calls; ++i) {
    const auto memory = [&](std::size_t at) {
      return own_random_() % 2 == 0 ? ordinary_[at].data() : reinterpret_cast<float*>(shared_[at].get());
    };
    const Memory chosen{memory(2 * i), memory(2 * i + 1)};
    if (random_() % 4 != 0) {
      works.push_back(random_() % 3 == 0 ? make_one_in_parts(chosen) : make_one(chosen));
      continue;
    }
    const int from = random_rank();
    const int to = random_rank();
    const std::int64_t elements = random_size(kMost);
    if (world_.rank() == from) works.push_back(world_.send({chosen.input, elements, kFloat}, to));
    if (world_.rank() == to) works.push_back(world_.receive({chosen.output, elements, kFloat}, from));
  }
  wait_all(works);
}

Work RandomCalls::make_one(const Memory& memory) {
  const int ranks = world_.world_size();
  const std::int64_t whole = random_size(kMost);
  const std::int64_t part = whole / ranks;
  switch (random_() % 8) {
    case 0:
      return world_.reduce({memory.output, whole, kFloat}, memory.input, random_rank(), ReduceOp::max);
    case 1:
      return world_.reduce_scatter({memory.output, part, kFloat}, memory.input, ReduceOp::max);
    case 2:
      return world_.broadcast({memory.output, whole, kFloat}, random_rank());
    case 3:
      return world_.all_gather(memory.output, {memory.input, part, kFloat});
    case 4:
      return world_.gather(memory.output, {memory.input, part, kFloat}, random_rank());
    case 5:
      return world_.scatter({memory.output, part, kFloat}, memory.input, random_rank());
    case 6:
      return world_.all_to_all(memory.output, {memory.input, part * ranks, kFloat});
    default:
      return world_.all_reduce({memory.output, whole, kFloat}, ReduceOp::max);
  }
}

Work RandomCalls::make_one_in_parts(const Memory& memory) {
  const auto ranks = static_cast<std::size_t>(world_.world_size());
  const auto self = static_cast<std::size_t>(world_.rank());
  std::vector<std::vector<std::int64_t>> sizes(ranks, std::vector<std::int64_t>(ranks));  // [from][to]
  for (auto& row : sizes) {
    for (std::int64_t& size : row) size = random_size(kMost / world_.world_size());
  }
  const std::vector<std::int64_t>& parts = sizes[0];
  switch (random_() % 5) {
    case 0:
      return world_.reduce_scatter({memory.output, parts[self], kFloat}, memory.input, parts, ReduceOp::max);
    case 1:
      return world_.all_gather(memory.output, {memory.input, parts[self], kFloat}, parts);
    case 2:
      return world_.gather(memory.output, {memory.input, parts[self], kFloat}, parts, random_rank());
    case 3:
      return world_.scatter({memory.output, parts[self], kFloat}, memory.input, parts, random_rank());
    default: {
      std::vector<std::int64_t> received;
      for (const auto& row : sizes) received.push_back(row[self]);
      return world_.all_to_all(memory.output, received, memory.input, sizes[self], kFloat);
    }
  }
}

}  // namespace lockstep::testing
