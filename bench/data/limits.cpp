// SPDX-License-Identifier: Apache-2.0
// bench_data_limits FOLDER [SECONDS]: what the machine can do at most, with 1 and 2 threads: memcpy of large blocks,
// and of the records of D1 and D2 (bench/data/peers.py makes them), in random order from the page cache into batches.
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <future>
#include <string>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "lockstep/dataloader/permutation.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Rate {
  double records = 0;
  double seconds = 0;
};

// Calls copy(0), copy(1) … until the time is over.
template <typename Copy>
Rate repeat(double seconds, double records_a_call, Copy copy) {
  copy(0);  // first touch
  Rate rate;
  const auto begin = Clock::now();
  for (std::uint64_t call = 1; rate.seconds < seconds; ++call) {
    copy(call);
    rate.records += records_a_call;
    rate.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return rate;
}

Rate copy_blocks(double seconds) {
  constexpr std::size_t kBytes = 64 << 20;
  const std::vector<std::byte> from(kBytes, std::byte{1});
  std::vector<std::byte> to(kBytes);
  return repeat(seconds, 1, [&](std::uint64_t) { std::memcpy(to.data(), from.data(), kBytes); });
}

struct Records {
  std::span<const std::byte> bytes;
  std::size_t size;  // of one
};

// Batches go to one of four places in turn, as those of a loader that reads ahead.
Rate copy_records(const Records& records, std::size_t batch, std::uint64_t seed, double seconds) {
  const lockstep::Permutation order(records.bytes.size() / records.size, seed, 0);
  std::vector<std::vector<std::byte>> places(4, std::vector<std::byte>(batch * records.size));
  return repeat(seconds, static_cast<double>(batch), [&](std::uint64_t call) {
    auto* to = places[call % places.size()].data();
    for (std::size_t i = 0; i < batch; ++i, to += records.size) {
      const auto record = order((call * batch + i) % order.size());
      std::memcpy(to, records.bytes.data() + record * records.size, records.size);
    }
  });
}

// Each thread is given its number; the sum of what they do.
template <typename Work>
Rate together(int threads, Work work) {
  std::vector<std::future<Rate>> running;
  for (int thread = 0; thread < threads; ++thread) running.push_back(std::async(std::launch::async, work, thread));
  Rate sum{.seconds = 1};
  for (auto& one : running) {
    const auto rate = one.get();
    sum.records += rate.records / rate.seconds;
  }
  return sum;
}

void print(const std::string& name, int threads, std::size_t batch, double record_bytes, const Rate& rate) {
  fmt::print(
      R"({{"case": "{}", "contender": "limit, {} threads", "batch": {}, "samples_per_second": {}, "bytes_per_second": {}}})"
      "\n",
      name, threads, batch, rate.records / rate.seconds, rate.records * record_bytes / rate.seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} FOLDER [SECONDS]\n", argv[0]);
    return 2;
  }
  const double seconds = argc > 2 ? std::stod(argv[2]) : 0.5;
  for (const int threads : {1, 2}) {
    print("memcpy", threads, 1, 64 << 20, together(threads, [&](int) { return copy_blocks(seconds); }));
    for (const auto& [name, size] : {std::pair("D1", std::size_t{2048}), {"D2", std::size_t{100'000}}}) {
      const auto blob = lockstep::open_store(fmt::format("{}/{}", argv[1], name))->open("records.bin");
      const Records records{blob->view(0, blob->size()).bytes, size};
      for (const std::size_t batch : {64, 256}) {
        print(name, threads, batch, static_cast<double>(size), together(threads, [&](int thread) {
                return copy_records(records, batch, static_cast<std::uint64_t>(thread), seconds);
              }));
      }
    }
  }
}
