// SPDX-License-Identifier: Apache-2.0
// The CPU time of a rank that waits. usage: mpirun -np 2 bench_idle_rank SECONDS
// Rank 0 sleeps that long and then comes to a barrier, in which rank 1 waits from the start.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/session.hpp"

namespace {

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  lockstep::Communicator world = session->world("shm");
  world.barrier();
  const double cpu = cpu_seconds();
  const auto began = std::chrono::steady_clock::now();
  if (world.rank() == 0) std::this_thread::sleep_for(std::chrono::duration<double>(std::atof(argv[1])));
  world.barrier();
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - began;
  if (world.rank() == 1)
    std::printf("{\"waited\": %.3f, \"cpu_share\": %.5f}\n", waited.count(), (cpu_seconds() - cpu) / waited.count());
  world.close();
  session->finalize();
  return 0;
}
