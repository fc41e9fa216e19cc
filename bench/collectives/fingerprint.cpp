// SPDX-License-Identifier: Apache-2.0
// What comparing calls costs a call over shared memory: the fingerprint, writing it into the line and the call beside
// it, and the comparison with a peer's. Nothing is shared here: the line travels anyway.
#include <benchmark/benchmark.h>

#include "shm/channel.hpp"
#include "shm/fingerprint.hpp"

namespace {

using lockstep::comm::Call;
using lockstep::comm::Kind;
using lockstep::comm::shm::fingerprint_of;
using lockstep::comm::shm::Line;

Call a_call() {
  return {.kind = Kind::all_reduce, .dtype = lockstep::DType::float32, .elements = 2, .leaves = 2, .scale = 0.5};
}

// Each iteration waits for the one before it, so that latency is measured and not how many overlap.
void fingerprint(benchmark::State& state) {
  Call call = a_call();
  for (auto _ : state) {
    call.elements = fingerprint_of(call);
    benchmark::DoNotOptimize(call.elements);
  }
}
BENCHMARK(fingerprint);

void fingerprint_written_and_compared(benchmark::State& state) {
  Call call = a_call();
  Line own;
  Line peers;
  std::array<Call, lockstep::comm::shm::kLines> calls{};  // kept beside the lines, to name a mismatch
  std::uint64_t index = 0;
  std::int64_t different = 0;
  for (auto _ : state) {
    own.fingerprint = fingerprint_of(call);
    calls[index++ % calls.size()] = call;
    benchmark::DoNotOptimize(own);
    benchmark::DoNotOptimize(calls);
    benchmark::DoNotOptimize(peers);
    different += static_cast<int>(peers.fingerprint != own.fingerprint);
    call.elements = own.fingerprint + different;
  }
  benchmark::DoNotOptimize(different);
}
BENCHMARK(fingerprint_written_and_compared);

}  // namespace

BENCHMARK_MAIN();
