// SPDX-License-Identifier: Apache-2.0
// bench_data_loader FOLDER CASE [SECONDS]: the data layer on the records that bench/data/peers.py makes; JSON lines.
//   make   writes the HDF5 shards           D1, D2   batches from tar and HDF5, 1 and 2 threads
//   D3     indexes a tar without an index   D5       the first batch of 10⁹ samples at some positions
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/dataloader/shard_writer.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t kSeed = 20261123;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

struct Case {
  std::string name;
  std::int64_t record_bytes;
};
const std::vector<Case> kCases{{"D1", 2048}, {"D2", 100'000}};

// The same records with a checksum of each beside, which is compared at every read.
void make_checked_tar(const std::string& folder) {
  for (const auto& [name, size] : kCases) {
    const auto target = fmt::format("{}/{}/tar-checked", folder, name);
    if (!std::filesystem::exists(target))
      (void)pack_tar(*open_records(open_store(folder + "/" + name + "/tar")), target);
  }
}

void make_hdf5(const std::string& folder) {
  for (const auto& [name, size] : kCases) {
    const auto target = fmt::format("{}/{}/hdf5", folder, name);
    if (std::filesystem::exists(target)) continue;
    const auto blob = open_store(folder + "/" + name)->open("records.bin");
    const FieldColumn column{{.name = "data", .dtype = DType::uint8, .shape = {size}},
                             blob->view(0, blob->size()).bytes};
    write_shards(target, static_cast<std::int64_t>(blob->size()) / size, std::span(&column, 1), 4);
  }
}

// The batches of one loader, compared with the records while it warms up.
class Batches {
 public:
  Batches(const std::string& folder, const Case& what, const std::string& format, int threads, std::int64_t batch)
      : records_(open_store(folder + "/" + what.name)->open("records.bin")),
        record_bytes_(static_cast<std::size_t>(what.record_bytes)),
        loader_({open_source(
                    {.name = format,
                     .path = folder + "/" + what.name + "/" + format,
                     .fields = {{.name = "data", .from = format == "hdf5" ? "data" : "npy", .dtype = DType::uint8}}})},
                {.seed = kSeed, .global_batch = batch, .threads = threads}) {}

  // Samples a second.
  double measure(double seconds) {
    constexpr double kWarmUp = 0.5;
    for (const auto begin = Clock::now(); seconds_since(begin) < kWarmUp;) check(loader_.next());
    std::int64_t samples = 0;
    const auto begin = Clock::now();
    double took = 0;
    for (; took < seconds; took = seconds_since(begin)) samples += loader_.next().samples;
    return static_cast<double>(samples) / took;
  }

 private:
  void check(const LoadedStep& step) const {
    const auto& batch = step.micro_batches.front().batch;
    const auto& values = batch.columns.front().values;
    const auto* at = static_cast<const std::byte*>(values.const_data_ptr());
    for (const auto& id : batch.ids) {
      const auto expected = records_->view(static_cast<std::uint64_t>(id.sample) * record_bytes_, record_bytes_);
      if (std::memcmp(at, expected.bytes.data(), record_bytes_) != 0) throw std::runtime_error("wrong bytes");
      at += record_bytes_;
    }
  }

  const std::shared_ptr<const Blob> records_;
  const std::size_t record_bytes_;
  DataLoader loader_;
};

void run_batches(const std::string& folder, const Case& what, double seconds) {
  for (const std::string format : {"tar", "tar-checked", "hdf5"}) {
    for (const int threads : {1, 2}) {
      for (const std::int64_t batch : {64, 256}) {
        const double rate = Batches(folder, what, format, threads, batch).measure(seconds);
        fmt::print(R"({{"case": "{}", "contender": "lockstep {}, {} threads", "batch": {}, )"
                   R"("samples_per_second": {}, "bytes_per_second": {}}})"
                   "\n",
                   what.name, format, threads, batch, rate, rate * static_cast<double>(what.record_bytes));
      }
    }
  }
}

void run_headers(const std::string& folder, double seconds) {
  std::int64_t headers = 0;
  const auto begin = Clock::now();
  double took = 0;
  for (; took < seconds; took = seconds_since(begin))
    headers += open_records(open_store(folder + "/D1/tar"))->samples();
  fmt::print(R"({{"case": "D3", "contender": "lockstep", "headers_per_second": {}}})"
             "\n",
             static_cast<double>(headers) / took);
}

// 10⁹ samples of 2 KiB that nobody has to store.
class Numbers final : public Dataset {
 public:
  [[nodiscard]] std::int64_t samples() const noexcept override { return 1'000'000'000; }
  [[nodiscard]] std::string fingerprint() const override { return "numbers"; }
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return fields_; }
  void read(const SampleKey& key, SampleSlot& slot) const override {
    const auto place = slot.fixed(0);
    for (std::size_t at = 0; at < place.size(); at += sizeof key.sample) {
      std::memcpy(place.data() + at, &key.sample, sizeof key.sample);
    }
  }

 private:
  std::vector<FieldInfo> fields_{{.name = "data", .dtype = DType::uint8, .shape = {2048}}};
};

std::string state_at(const DataLoader& loader, std::int64_t position) {
  auto state = nlohmann::json::parse(loader.state());
  state["step_in_epoch"] = position / loader.options().global_batch;
  state["samples_in_epoch"] = position;
  state["sources"][0]["position"] = position;
  state["sources"][0]["mixed"] = position;
  return state.dump();
}

std::int64_t most_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

void run_first_batch(std::int64_t position) {
  const auto before = most_memory();
  const auto begin = Clock::now();
  DataLoader loader(std::make_shared<Numbers>(), {.seed = kSeed, .global_batch = 64, .threads = 2});
  loader.load_state(state_at(loader, position));
  const auto samples = loader.next().samples;
  fmt::print(
      R"({{"case": "D5", "contender": "position {}", "first_batch_seconds": {}, "extra_bytes": {}, "samples": {}}})"
      "\n",
      position, seconds_since(begin), most_memory() - before, samples);
}

// Each in a process of its own, so that the memory of one is not there already for the next.
void run_first_batches() {
  for (const std::int64_t position : {0LL, 64LL, 499'999'936LL, 999'999'936LL}) {
    std::fflush(stdout);
    const auto child = ::fork();
    if (child == 0) {
      run_first_batch(position);
      std::fflush(stdout);
      ::_exit(0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) throw std::runtime_error("D5 failed");
  }
}

void run(const std::string& folder, const std::string& name, double seconds) {
  if (name == "make") {
    make_hdf5(folder);
    make_checked_tar(folder);
  }
  if (name == "D3") run_headers(folder, seconds);
  if (name == "D5") run_first_batches();
  for (const auto& what : kCases) {
    if (name == what.name) run_batches(folder, what, seconds);
  }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} FOLDER make|D1|D2|D3|D5 [SECONDS]\n", argv[0]);
    return 2;
  }
  try {
    lockstep::run(argv[1], argv[2], argc > 3 ? std::stod(argv[3]) : 2);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
