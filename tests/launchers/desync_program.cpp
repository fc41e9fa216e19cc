// SPDX-License-Identifier: Apache-2.0
// Makes the same three calls again and again, until one rank falls out of step with the others.
#include <unistd.h>

#include <array>
#include <csignal>
#include <lockstep/lockstep.hpp>

namespace {

using lockstep::Buffer;
using lockstep::DType;

constexpr int kSteps = 20;

struct Options {
  std::string kind = "none";
  int rank = 2;
  int step = 10;
  void describe(lockstep::OptionList& list) {
    list.add("desync.kind", kind, "missing, extra, kind, count, dtype, root, order, dead, stopped, elsewhere or busy");
    list.add("desync.rank", rank, "which rank");
    list.add("desync.step", step, "at which step");
  }
};

// The calls #3s, #3s + 1 and #3s + 2 of step s.
struct Calls {
  lockstep::Communicator& work;
  lockstep::Communicator& other;
  std::array<float, 1000> gradients{};
  std::array<std::int64_t, 8> indices{};

  void all_reduce() { work.all_reduce(Buffer{gradients.data(), 1000, DType::float32}).wait(); }
  void broadcast(int root = 0) { work.broadcast(Buffer{indices.data(), 8, DType::int64}, root).wait(); }
  void step() {
    all_reduce();
    broadcast();
    work.barrier();
  }
  void step_astray(const std::string& kind) {
    if (kind == "kind") work.reduce(Buffer{gradients.data(), 1000, DType::float32}, gradients.data(), 0).wait();
    if (kind == "count") work.all_reduce(Buffer{gradients.data(), 999, DType::float32}).wait();
    if (kind == "dtype") work.all_reduce(Buffer{gradients.data(), 1000, DType::int32}).wait();
    if (kind == "extra") work.barrier();
    if (kind == "order") broadcast();
    if (kind == "elsewhere") other.barrier();
    if (kind == "dead") std::raise(SIGKILL);
    if (kind == "stopped") std::raise(SIGSTOP);
    while (kind == "busy") pause();
    if (kind != "missing") all_reduce();
    broadcast(kind == "root" ? 1 : 0);
    work.barrier();
  }
};

void train(lockstep::Runtime& rt, const Options& options) {
  lockstep::Communicator work = rt.world().duplicate("work");
  lockstep::Communicator other = rt.world().duplicate("other");
  Calls calls{work, other};
  for (int step = 0; step < kSteps; ++step) {
    if (rt.rank() == options.rank && step == options.step) {
      calls.step_astray(options.kind);
    } else {
      calls.step();
    }
  }
  other.close();
  work.close();
}

}  // namespace

int main(int argc, char** argv) { return lockstep::run<Options>(argc, argv, train); }
