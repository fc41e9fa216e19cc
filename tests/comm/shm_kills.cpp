// SPDX-License-Identifier: Apache-2.0
// usage: shm_kills POINTS SEED
// Ranks are processes that run random collectives and messages over shm; one of them is killed (SIGKILL) at a random
// instant, in a third of the points another one soon after it. Every survivor must have its PeerDied, naming one that
// died, within a second; the survivors shrink the communicator and get the right sums from it; and no rank may have
// memory under a name in /dev/shm, which a killed one would leave.
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <random>
#include <string>

#include "comm/random_calls.hpp"
#include "comm/shm_processes.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kNoticed = milliseconds(1000);
constexpr auto kHangs = milliseconds(15'000);
constexpr int kSurvived = 42;  // the exit code of a rank that got the right sums with the other survivors

// What a rank tells the parent.
struct Report {
  std::atomic<int> rounds;              // of calls so far
  std::atomic<std::int64_t> failed_at;  // on the steady clock, which all processes share
  std::atomic<int> named;
  std::atomic<bool> leaves_names;
};

// Sums on both sides of every switch, over those that `left` has.
bool sums_are_right(Communicator& left, const std::map<std::int64_t, int>& world_rank_of) {
  std::int64_t expected = 0;
  for (const comm::Peer& peer : left.peers()) expected += world_rank_of.at(peer.pid);
  const int own = world_rank_of.at(left.peers()[static_cast<std::size_t>(left.rank())].pid);
  bool right = true;
  for (const std::int64_t elements : {1, 700, 70'001}) {
    const auto shared = left.allocate(static_cast<std::size_t>(elements) * sizeof(std::int64_t));
    std::vector<std::int64_t> ordinary(static_cast<std::size_t>(elements), own);
    auto* const values = reinterpret_cast<std::int64_t*>(shared.get());
    std::fill(values, values + elements, own);
    left.all_reduce({values, elements, DType::int64}).wait();
    left.all_reduce({ordinary.data(), elements, DType::int64}).wait();
    right = right && std::count(values, values + elements, expected) == elements;
    right = right && std::count(ordinary.begin(), ordinary.end(), expected) == elements;
  }
  left.barrier();
  return right;
}

int survive(Communicator& world) {
  std::map<std::int64_t, int> world_rank_of;
  for (int rank = 0; rank < world.world_size(); ++rank)
    world_rank_of[world.peers()[static_cast<std::size_t>(rank)].pid] = rank;
  for (Communicator left = world.shrink("survivors");; left = left.shrink("survivors")) {
    try {
      return sums_are_right(left, world_rank_of) ? kSurvived : 1;
    } catch (const PeerDied&) {  // the second one
    }
  }
}

bool maps_named_memory() {
  std::ifstream maps("/proc/self/maps");
  const std::string text{std::istreambuf_iterator<char>(maps), {}};
  return text.empty() || text.find("/dev/shm/") != std::string::npos;
}

int be_rank(Communicator& world, unsigned seed, Report& report) {
  try {
    RandomCalls calls(world, seed);
    for (;; ++report.rounds) calls.make_some();
  } catch (const PeerDied& error) {
    report.named = error.rank();
    report.failed_at = Clock::now().time_since_epoch().count();
    report.leaves_names = maps_named_memory();
  }
  return survive(world);
}

void spin(std::chrono::microseconds time) {
  for (const auto until = Clock::now() + time; Clock::now() < until;) {
  }
}

struct Slowest {
  double error = 0;     // seconds from the kill to a survivor's error
  double survival = 0;  // and to its end
};

bool one_point(std::mt19937& random, Slowest& slowest) {
  const int ranks = 2 + static_cast<int>(random() % 3);
  std::vector<int> order(static_cast<std::size_t>(ranks));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  const std::size_t victims = ranks > 2 && random() % 3 == 0 ? 2 : 1;
  const auto delay = std::chrono::microseconds(random() % 5000);
  const auto delay_of_second = std::chrono::microseconds(random() % 4000);
  const unsigned seed = random();
  const auto reports = shared_array<Report>(ranks);
  ShmProcesses processes(ranks, milliseconds(10'000), [&](Communicator& world) {
    return be_rank(world, seed, reports[static_cast<std::ptrdiff_t>(world.rank())]);
  });
  for (int rank = 0; rank < ranks; ++rank) {
    while (reports[static_cast<std::ptrdiff_t>(rank)].rounds == 0) spin(std::chrono::microseconds(100));
  }
  spin(delay);
  const auto killed = Clock::now();
  processes.signal(order[0], SIGKILL);
  if (victims == 2) {
    spin(delay_of_second);
    processes.signal(order[1], SIGKILL);
  }
  bool good = true;
  for (std::size_t i = victims; i < order.size(); ++i) {
    const std::optional<int> status = processes.wait(order[i], killed + kHangs);
    slowest.survival = std::max(slowest.survival, std::chrono::duration<double>(Clock::now() - killed).count());
    const Report& report = reports[static_cast<std::ptrdiff_t>(order[i])];
    const auto noticed = Clock::duration(report.failed_at) - killed.time_since_epoch();
    slowest.error = std::max(slowest.error, std::chrono::duration<double>(noticed).count());
    const bool named = report.named == order[0] || (victims == 2 && report.named == order[1]);
    const bool survived = status && WIFEXITED(*status) && WEXITSTATUS(*status) == kSurvived;
    if (named && survived && report.failed_at != 0 && noticed <= kNoticed && !report.leaves_names) continue;
    std::fprintf(stderr, "rank %d of %d: status %x, named %d after %.3f s%s; killed: %d%s (seed %u)\n", order[i], ranks,
                 status.value_or(-1), report.named.load(), std::chrono::duration<double>(noticed).count(),
                 report.leaves_names ? ", has memory in /dev/shm" : "", order[0],
                 victims == 2 ? (" and " + std::to_string(order[1])).c_str() : "", seed);
    good = false;
  }
  return good;
}

int main_of(int points, unsigned seed) {
  std::mt19937 random(seed);
  int failed = 0;
  Slowest slowest;
  for (int point = 0; point < points; ++point) failed += one_point(random, slowest) ? 0 : 1;
  std::printf(
      "%d of %d kill points failed; the slowest survivor had its error after %.3f s and the survivors' sums after %.3f "
      "s\n",
      failed, points, slowest.error, slowest.survival);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  return lockstep::testing::main_of(argc > 1 ? std::atoi(argv[1]) : 50,
                                    argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
}
