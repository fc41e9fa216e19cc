// SPDX-License-Identifier: Apache-2.0
// usage: shm_kills POINTS SEED
// Ranks are processes that run random collectives over shm; one of them is killed (SIGKILL) at a random instant. Every
// survivor must have its PeerDied, naming the one that died, within a second, and nothing may be left in /dev/shm.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <random>
#include <vector>

#include "comm/process_ranks.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/communicator.hpp"

namespace {

using namespace lockstep;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kNoticed = milliseconds(1000);
constexpr int kSurvived = 42;  // the exit code of a rank that got the right error

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    int ends[2];
    if (pipe(ends) != 0) std::perror("pipe"), std::exit(2);
    read_end = ends[0];
    write_end = ends[1];
  }
};

// The same calls on every rank: all kinds, sizes on both sides of every switch, ordinary and shared memory.
void random_collectives(Communicator& world, unsigned seed) {
  constexpr std::int64_t kMost = 300'000;
  std::mt19937 random(seed);
  const auto shared = world.allocate(kMost * sizeof(float) * 4);
  std::vector<float> ordinary(kMost * 4);
  while (true) {
    const std::uint32_t size_class = random() % 4;
    const std::int64_t elements = 1 + random() % (size_class == 0   ? 10
                                                  : size_class == 1 ? 2000
                                                  : size_class == 2 ? 30'000
                                                                    : kMost);
    float* const data = random() % 2 == 0 ? reinterpret_cast<float*>(shared.get()) : ordinary.data();
    switch (random() % 5) {
      case 0:
        world.barrier();
        break;
      case 1:
        world
            .broadcast({data, elements, DType::float32},
                       static_cast<int>(random() % static_cast<unsigned>(world.world_size())))
            .wait();
        break;
      case 2: {
        const std::int64_t part = elements / 4 + 1;
        world
            .all_gather(ordinary.data(), {data == ordinary.data() ? shared.get() : static_cast<void*>(data),
                                          part / 2 + 1, DType::float32})
            .wait();
        break;
      }
      default:
        world.all_reduce({data, elements, DType::float32}, ReduceOp::max).wait();
    }
  }
}

bool one_point(std::mt19937& random, double& slowest) {
  const int ranks = 2 + static_cast<int>(random() % 3);
  const int victim = static_cast<int>(random() % static_cast<unsigned>(ranks));
  const auto delay = std::chrono::microseconds(random() % 3000);
  const unsigned seed = random();
  const Pipe ready;
  const auto children = testing::start_process_ranks(ranks, [&](Communicator& world) {
    try {
      world.barrier();
      if (write(ready.write_end, "r", 1) != 1) return 3;
      random_collectives(world, seed);
    } catch (const PeerDied& error) {
      return kSurvived + error.rank();
    }
    return 1;
  });
  char byte = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    if (read(ready.read_end, &byte, 1) != 1) return false;
  }
  for (const auto until = Clock::now() + delay; Clock::now() < until;) {
  }
  const auto killed = Clock::now();
  kill(children[static_cast<std::size_t>(victim)], SIGKILL);
  bool good = true;
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    while (waitpid(children[static_cast<std::size_t>(rank)], &status, WNOHANG) == 0) {
      if (Clock::now() - killed > 5 * kNoticed) {
        std::fprintf(stderr, "rank %d of %d hangs after rank %d was killed (seed %u)\n", rank, ranks, victim, seed);
        kill(children[static_cast<std::size_t>(rank)], SIGKILL);
        good = false;
      }
      usleep(200);
    }
    const auto took = Clock::now() - killed;
    slowest = std::max(slowest, std::chrono::duration<double>(took).count());
    if (rank == victim) continue;
    const bool named = WIFEXITED(status) && WEXITSTATUS(status) == kSurvived + victim;
    if (!named || took > kNoticed) {
      std::fprintf(stderr, "rank %d of %d: status %x after %.3f s, rank %d was killed (seed %u)\n", rank, ranks, status,
                   std::chrono::duration<double>(took).count(), victim, seed);
      good = false;
    }
  }
  close(ready.read_end);
  close(ready.write_end);
  return good;
}

std::vector<std::string> shared_memory_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  const int points = argc > 1 ? std::atoi(argv[1]) : 50;
  std::mt19937 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
  const auto before = shared_memory_names();
  int failed = 0;
  double slowest = 0;
  for (int point = 0; point < points; ++point) failed += one_point(random, slowest) ? 0 : 1;
  const auto after = shared_memory_names();
  const bool clean = std::includes(before.begin(), before.end(), after.begin(), after.end());
  std::printf("%d of %d kill points failed; the slowest survivor had its error after %.3f s; /dev/shm %s\n", failed,
              points, slowest, clean ? "as before" : "has new files");
  return failed == 0 && clean ? 0 : 1;
}
