// SPDX-License-Identifier: Apache-2.0
// bench_remote URL LOCAL_FOLDER CACHE_FOLDER CACHE_BYTES TIMEOUT_MS THREADS SHARDS: reads shard-00000.bin … once, each
// thread its share in order, and announces what it will read a while before, as the data loader does. Prints one line
// of JSON: bytes per second, the most that the cache held (10 samples a second), and how many shards differ from the
// local ones. bench/data/remote.py runs it.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kView = 1U << 20U;
constexpr std::uint64_t kAhead = 96U << 20U;  // of all threads together

std::string shard_name(int shard) { return fmt::format("shard-{:05}.bin", shard); }

std::uint64_t bytes_in(const std::filesystem::path& folder) {
  std::uint64_t sum = 0;
  std::error_code gone;
  for (const auto& file : std::filesystem::directory_iterator(folder, gone)) {
    const auto size = file.file_size(gone);
    if (!gone) sum += size;
  }
  return sum;
}

// The shards of one reader as one stream of views. Whatever is `ahead` bytes further on is announced before each view.
class Share {
 public:
  Share(const lockstep::BlobStore& store, int first, int step, int shards) {
    for (int shard = first; shard < shards; shard += step) blobs_.push_back(store.open(shard_name(shard)));
  }
  [[nodiscard]] std::uint32_t checksum_of(std::size_t shard, std::uint64_t ahead) const {
    const auto& blob = *blobs_[shard];
    std::uint32_t crc = 0;
    for (std::uint64_t at = 0; at < blob.size(); at += kView) {
      announce(shard, at + ahead);
      crc = lockstep::crc32c(blob.view(at, std::min(kView, blob.size() - at)).bytes, crc);
    }
    return crc;
  }
  void announce_first(std::uint64_t bytes) const {
    for (std::uint64_t at = 0; at < bytes; at += kView) announce(0, at);
  }
  [[nodiscard]] std::size_t shards() const { return blobs_.size(); }

 private:
  void announce(std::size_t shard, std::uint64_t at) const {
    for (; shard < blobs_.size(); at -= blobs_[shard++]->size()) {
      const auto size = blobs_[shard]->size();
      if (at < size) return blobs_[shard]->prefetch(at, std::min(kView, size - at));
    }
  }

  std::vector<std::shared_ptr<const lockstep::Blob>> blobs_;
};

void read(const Share& remote, const Share& local, std::uint64_t ahead, std::atomic<int>& different) {
  remote.announce_first(ahead);
  for (std::size_t shard = 0; shard < remote.shards(); ++shard) {
    if (remote.checksum_of(shard, ahead) != local.checksum_of(shard, 0)) ++different;
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
  static_cast<void>(Share(*local, 0, 1, 1).checksum_of(0, 0));  // in memory from here on
  std::vector<std::pair<Share, Share>> shares;
  std::uint64_t bytes = 0;
  for (int i = 0; i < threads; ++i) {
    shares.emplace_back(Share(*remote, i, threads, shards), Share(*local, i, threads, shards));
  }
  for (int i = 0; i < shards; ++i) bytes += local->open(shard_name(i))->size();

  std::atomic<bool> done = false;
  std::uint64_t most_cached = 0;
  std::thread sampler([&] {
    while (!done) {
      most_cached = std::max(most_cached, bytes_in(options.cache_folder));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  std::atomic<int> different = 0;
  const auto begin = Clock::now();
  std::vector<std::thread> readers;
  const auto ahead = kAhead / static_cast<std::uint64_t>(threads);
  for (const auto& share : shares) {
    readers.emplace_back([&share, &different, ahead] { read(share.first, share.second, ahead, different); });
  }
  for (auto& reader : readers) reader.join();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  done = true;
  sampler.join();
  std::cout << fmt::format(R"({{"bytes_per_second": {:.0f}, "seconds": {:.2f}, "most_cached": {}, "different": {}}})",
                           static_cast<double>(bytes) / seconds.count(), seconds.count(), most_cached, different.load())
            << '\n';
  return different == 0 && most_cached <= options.cache_bytes ? 0 : 1;
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
