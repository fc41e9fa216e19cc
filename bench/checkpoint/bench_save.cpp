// SPDX-License-Identifier: Apache-2.0
// bench_save CASE FOLDER BYTES [REPEATS]: one of the cases below for a state of BYTES; prints a line of JSON. The
// process is a rank where a launcher says so (lockstep run, mpirun, or RANK, WORLD_SIZE and LOCKSTEP_RENDEZVOUS), else
// the only one. FOLDER is emptied. bench/checkpoint/run.py runs it.
#include <chrono>
#include <exception>
#include <iostream>
#include <map>

#include "bench.hpp"
#include "lockstep/comm/session.hpp"

namespace {

const std::map<std::string, void (*)(const bench::Bench&)> kCases = {
    {"limits", bench::measure_limits}, {"save", bench::measure_saves}, {"overlap", bench::measure_overlap},
    {"steps", bench::measure_steps},   {"many", bench::measure_many},
};

int measure(const std::string& name, const std::filesystem::path& folder, std::size_t bytes, int repeats) {
  const auto session = lockstep::open_session(std::chrono::minutes(10));
  auto world = session->world();
  {
    std::filesystem::create_directories(folder);
    const bench::Bench bench{world, folder, bytes, repeats};
    bench.clear();
    kCases.at(name)(bench);
    bench.clear();
  }
  world.close();
  session->finalize();
  return 0;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count == 4 || count == 5)
      return measure(words[1], words[2], std::stoull(words[3]), count == 5 ? std::stoi(words[4]) : 3);
    std::cerr << "usage: see the head of bench/checkpoint/bench_save.cpp\n";
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
  }
  return 2;
}
