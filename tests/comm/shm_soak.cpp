// SPDX-License-Identifier: Apache-2.0
// usage: shm_soak OPERATIONS SEED [threads|processes]
// Random calls of every kind over shm, several in flight on two communicators, by ranks that drift apart by random
// delays; every element of every result is checked. On threads and on processes in turn, or on one of them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "comm/matrix_calls.hpp"
#include "comm/shm_processes.hpp"
#include "comm/thread_ranks.hpp"

namespace lockstep::testing {
namespace {

using comm::Kind;

constexpr std::int64_t kMost = 150'000;
constexpr std::size_t kInFlight = 10;  // more than shm publishes ahead
constexpr int kCallsOfWorld = 500;

// What rank `rank` puts into call `index`, at `i`.
std::int64_t value(std::uint64_t index, int rank, std::int64_t i) {
  return static_cast<std::int64_t>(index) * 1'000'003 + rank * 7919 + i * 31;
}

std::int64_t expected(const MatrixCell& cell, std::uint64_t index, int ranks, int from, std::int64_t i) {
  if (from != Effect::kReduction) return value(index, from, i);
  if (cell.op == ReduceOp::max) return value(index, ranks - 1, i);
  if (cell.op == ReduceOp::min) return value(index, 0, i);
  return ranks * value(index, 0, i) + 7919 * (ranks * (ranks - 1) / 2);
}

// A call in flight, and the memory that it uses.
struct Call {
  MatrixCell cell;
  std::uint64_t index = 0;
  int root = 0;
  std::size_t place = 0;  // of its memory
  std::int64_t* output = nullptr;
  std::vector<Work> works{};
};

class Soak {
 public:
  Soak(Communicator& world, unsigned seed)
      : world_(world),
        other_(world.duplicate("other")),
        random_(seed),
        own_random_(seed + 1 + static_cast<unsigned>(world.rank())) {
    for (std::size_t i = 0; i < 2 * kInFlight; ++i) {
      ordinary_.emplace_back(kMost + 64);
      shared_.push_back(world.allocate((kMost + 64) * sizeof(std::int64_t)));
      if (i < kInFlight) free_.push_back(i);
    }
  }

  void run(int calls) {
    for (int i = 0; i < calls; ++i) {
      delay();
      start();
      while (calls_.size() > random_() % kInFlight) finish();
    }
    while (!calls_.empty()) finish();
    other_.close();
  }

 private:
  void delay() {
    const unsigned kind = own_random_() % 64;
    if (kind == 0) std::this_thread::sleep_for(std::chrono::microseconds(own_random_() % 300));
    if (kind < 8) std::this_thread::yield();
    for (unsigned spin = own_random_() % 500; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  // The same on every rank.
  [[nodiscard]] MatrixCell random_cell() {
    constexpr Kind kKinds[] = {Kind::all_reduce, Kind::reduce,  Kind::reduce_scatter, Kind::broadcast, Kind::all_gather,
                               Kind::gather,     Kind::scatter, Kind::all_to_all,     Kind::send,      Kind::barrier};
    constexpr ReduceOp kSums[] = {ReduceOp::sum, ReduceOp::min, ReduceOp::max};
    constexpr std::int64_t kLimits[] = {8, 8, 8, 400, 400, 5000, 5000, kMost};
    MatrixCell cell{.kind = kKinds[random_() % std::size(kKinds)], .dtype = DType::int64};
    cell.op = kSums[random_() % std::size(kSums)];
    cell.elements = random_() % kLimits[random_() % std::size(kLimits)];
    const bool in_parts = random_() % 2 == 0;
    cell.parts = in_parts && (cell.kind == Kind::reduce_scatter || cell.kind == Kind::all_gather ||
                              cell.kind == Kind::gather || cell.kind == Kind::scatter || cell.kind == Kind::all_to_all);
    cell.in_place = random_() % 2 == 0 && (cell.kind == Kind::all_reduce || cell.kind == Kind::reduce);
    return cell;
  }

  // Each rank decides for itself.
  [[nodiscard]] std::int64_t* random_memory(std::size_t place) {
    return own_random_() % 2 == 0 ? ordinary_[place].data() : reinterpret_cast<std::int64_t*>(shared_[place].get());
  }

  void start() {
    Call call{.cell = random_cell(), .index = ++started_};
    Communicator& communicator = random_() % 3 == 0 ? other_ : world_;
    call.root = static_cast<int>(random_() % static_cast<unsigned>(world_.world_size()));
    if (call.cell.kind == Kind::barrier) return communicator.barrier();
    call.place = free_.back();
    free_.pop_back();
    std::int64_t* const input = random_memory(call.place);
    call.output = random_memory(call.place + kInFlight);
    const Effect effect = effect_of(call.cell, world_.rank(), world_.world_size(), call.root);
    for (std::int64_t i = 0; i < effect.input; ++i) input[i] = value(call.index, world_.rank(), i);
    std::fill_n(call.output, effect.output, -1);
    if (call.cell.in_place || call.cell.kind == Kind::broadcast) call.output = input;
    call.works = start_call(communicator, call.cell, call.root, reinterpret_cast<std::byte*>(input),
                            reinterpret_cast<std::byte*>(call.output));
    calls_.push_back(std::move(call));
  }

  void finish() {
    const auto chosen = calls_.begin() + static_cast<std::ptrdiff_t>(random_() % calls_.size());
    Call call = std::move(*chosen);
    calls_.erase(chosen);
    wait_all(call.works);
    const Effect effect = effect_of(call.cell, world_.rank(), world_.world_size(), call.root);
    for (const Effect::Block& block : effect.blocks) {
      for (std::int64_t i = 0; i < block.elements; ++i) {
        const std::int64_t right = expected(call.cell, call.index, world_.world_size(), block.from, block.first + i);
        if (call.output[block.at + i] == right) continue;
        throw std::runtime_error("call " + std::to_string(call.index) + ", " + to_string(call.cell) + ": element " +
                                 std::to_string(block.at + i) + " is " + std::to_string(call.output[block.at + i]) +
                                 " instead of " + std::to_string(right));
      }
    }
    free_.push_back(call.place);
  }

  Communicator& world_;
  Communicator other_;
  std::mt19937 random_;
  std::mt19937 own_random_;
  std::vector<std::vector<std::int64_t>> ordinary_;
  std::vector<std::shared_ptr<std::byte>> shared_;
  std::vector<std::size_t> free_;
  std::deque<Call> calls_;
  std::uint64_t started_ = 0;
};

void soak(Communicator& world, unsigned seed, int calls) {
  try {
    Soak(world, seed).run(calls);
    world.barrier();  // a process that ends has the others look for its death
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shm_soak: rank %d of %d, seed %u: %s\n", world.rank(), world.world_size(), seed,
                 error.what());
    std::_Exit(1);
  }
}

void on_processes(int ranks, unsigned seed, int calls) {
  ShmProcesses processes(ranks, std::chrono::seconds(60), [&](Communicator& world) {
    soak(world, seed, calls);
    return 0;
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(10);
  for (int rank = 0; rank < ranks; ++rank) {
    if (processes.wait(rank, deadline) != 0) {
      std::fprintf(stderr, "shm_soak: rank %d of %d failed or did not end (seed %u)\n", rank, ranks, seed);
      std::exit(1);
    }
  }
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  using namespace lockstep::testing;
  const int operations = argc > 1 ? std::atoi(argv[1]) : 20'000;
  const auto seed = static_cast<unsigned>(argc > 2 ? std::atoi(argv[2]) : 1);
  const std::string where = argc > 3 ? argv[3] : "both";
  std::mt19937 random(seed);
  int left = operations;
  for (int round = 0; left > 0; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 5);
    const int calls = std::min(left, kCallsOfWorld);
    const unsigned round_seed = random();
    if (where == "threads" || (where == "both" && round % 2 == 0)) {
      on_shm_threads(ranks, [&](lockstep::Communicator& world) { soak(world, round_seed, calls); });
    } else {
      on_processes(ranks, round_seed, calls);
    }
    left -= calls;
  }
  std::printf("%d operations, on %s, seed %u: all right\n", operations, where.c_str(), seed);
}
