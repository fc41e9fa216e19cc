// SPDX-License-Identifier: Apache-2.0
// Nights of training: memory does not grow from epoch to epoch, and a killed loader leaves nothing behind.
#include <gmock/gmock.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include "dataloader/synthetic.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {
namespace {

constexpr int kSamples = 600;

std::int64_t resident_bytes() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

// Compressed, so that every sample goes through a buffer.
void pack(const std::filesystem::path& folder) {
  TarWriter writer(folder, {.shard_samples = 100, .compression = Compression::zstd});
  std::vector<std::byte> bytes(20'000);
  for (int i = 0; i < kSamples; ++i) {
    for (std::size_t j = 0; j < bytes.size(); ++j) bytes[j] = static_cast<std::byte>(i + j % 100);
    const FieldBytes field{"bin", std::span(bytes).first(bytes.size() - static_cast<std::size_t>(i))};  // ragged
    writer.add(std::to_string(i), std::span(&field, 1));
  }
  (void)writer.finish();
}

std::unique_ptr<DataLoader> open(const std::filesystem::path& folder) {
  return std::make_unique<DataLoader>(open_sources(folder.string()), LoaderOptions{.global_batch = 32, .threads = 2});
}

// First, because a process that forks should have no other threads yet.
TEST(KilledLoader, leaves_nothing_behind) {
  const TemporaryDirectory folder;
  pack(folder / "set");
  std::filesystem::create_directory(folder / "tmp");
  const auto files = names_in(folder / "set");
  const auto shared = names_in("/dev/shm");
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    setenv("TMPDIR", (folder / "tmp").c_str(), 1);
    const auto loader = open(folder / "set");
    for (;;) {
      (void)loader->next();
      if (write(ready[1], "x", 1) != 1) _exit(1);
    }
  }
  char byte = 0;
  for (int i = 0; i < 5; ++i) ASSERT_EQ(read(ready[0], &byte, 1), 1);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(names_in(folder / "set"), files);
  EXPECT_THAT(names_in(folder / "tmp"), testing::IsEmpty());
  for (const auto& name : names_in("/dev/shm")) {  // other tests may run beside this one
    EXPECT_TRUE(shared.contains(name) || name.find("lockstep-data") == std::string::npos) << name;
  }
}

// How many batches are in flight differs from epoch to epoch, so that the peaks are compared: what is lost once an
// epoch, be it a batch, adds up to more than the slack.
TEST(Memory, does_not_grow_after_twenty_epochs) {
  mallopt(M_MMAP_THRESHOLD, 64 << 10);  // what is freed leaves the process, so that only what is held counts
  mallopt(M_ARENA_MAX, 1);
  const TemporaryDirectory folder;
  pack(folder / "set");
  const auto loader = open(folder / "set");
  const auto peak_of_epochs = [&](int epochs) {
    std::int64_t peak = 0;
    for (std::int64_t i = 0; i < epochs * loader->steps_per_epoch(); ++i) {
      (void)loader->next();
      peak = std::max(peak, resident_bytes());
    }
    return static_cast<double>(peak);
  };
  const double before = peak_of_epochs(20);
  EXPECT_LT(peak_of_epochs(60), before * 1.01 + (8 << 20));
}

}  // namespace
}  // namespace lockstep
