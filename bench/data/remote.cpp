// SPDX-License-Identifier: Apache-2.0
// bench_remote URL LOCAL_FOLDER CACHE_FOLDER CACHE_BYTES TIMEOUT_MS THREADS SHARDS: reads shard-00000.bin … once, each
// thread its share in order and with the next shard announced, as the data loader does. Prints one line of JSON: bytes
// per second, the most that the cache held (10 samples a second), and how many shards differ from the local ones.
// bench/data/remote.py runs it.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <thread>
#include <vector>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kView = 1U << 20U;

std::string shard_name(int shard) { return fmt::format("shard-{:05}.bin", shard); }

std::uint32_t checksum(const lockstep::Blob& blob) {
  std::uint32_t crc = 0;
  for (std::uint64_t at = 0; at < blob.size(); at += kView) {
    crc = lockstep::crc32c(blob.view(at, std::min(kView, blob.size() - at)).bytes, crc);
  }
  return crc;
}

std::uint64_t bytes_in(const std::filesystem::path& folder) {
  std::uint64_t sum = 0;
  std::error_code gone;
  for (const auto& file : std::filesystem::directory_iterator(folder, gone)) {
    const auto size = file.file_size(gone);
    if (!gone) sum += size;
  }
  return sum;
}

struct Totals {
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<int> different = 0;
};

void read_share(const lockstep::BlobStore& remote, const lockstep::BlobStore& local, int first, int step, int shards,
                Totals& totals) {
  auto next = first < shards ? remote.open(shard_name(first)) : nullptr;
  for (int shard = first; shard < shards; shard += step) {
    const auto blob = std::move(next);
    if (shard + step < shards) {
      next = remote.open(shard_name(shard + step));
      next->prefetch(0, next->size());
    }
    if (checksum(*blob) != checksum(*local.open(shard_name(shard)))) ++totals.different;
    totals.bytes += blob->size();
  }
}

int measure(const std::vector<std::string>& words) {
  const lockstep::RemoteOptions options{.cache_folder = words[2],
                                        .cache_bytes = std::stoull(words[3]),
                                        .timeout = std::chrono::milliseconds(std::stol(words[4]))};
  const int threads = std::stoi(words[5]);
  const int shards = std::stoi(words[6]);
  const auto remote = lockstep::open_store(words[0], options);
  const auto local = lockstep::open_store(words[1]);
  static_cast<void>(checksum(*local->open(shard_name(0))));  // in memory from here on

  std::atomic<bool> done = false;
  std::uint64_t most_cached = 0;
  std::thread sampler([&] {
    while (!done) {
      most_cached = std::max(most_cached, bytes_in(options.cache_folder));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  Totals totals;
  const auto begin = Clock::now();
  std::vector<std::thread> readers;
  for (int i = 0; i < threads; ++i)
    readers.emplace_back([&, i] { read_share(*remote, *local, i, threads, shards, totals); });
  for (auto& reader : readers) reader.join();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  done = true;
  sampler.join();
  std::cout << fmt::format(R"({{"bytes_per_second": {:.0f}, "seconds": {:.2f}, "most_cached": {}, "different": {}}})",
                           static_cast<double>(totals.bytes) / seconds.count(), seconds.count(), most_cached,
                           totals.different.load())
            << '\n';
  return totals.different == 0 && most_cached <= options.cache_bytes ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count == 8) return measure({words + 1, words + count});
    std::cerr << "usage: see the head of bench/data/remote.cpp\n";
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
  }
  return 2;
}
