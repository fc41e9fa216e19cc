// SPDX-License-Identifier: Apache-2.0
// bench_checkpoint_read make FOLDER MIB      writes a checkpoint of tensors of 4 MiB, and one of 1 MiB
// bench_checkpoint_read open FOLDER          opens it and reads the tensor of 1 MiB: time, and memory of this process
// bench_checkpoint_read load FOLDER THREADS  loads all into reused buffers, warm, beside bare pread and memcpy
// bench_checkpoint_read verify FOLDER THREADS  verifies all, cold and warm, beside one thread that only reads
// bench/checkpoint/run.py runs it. Prints a line of JSON for each; times are medians of rounds in which what is
// compared takes turns.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kTensorBytes = 4 << 20;
constexpr std::size_t kSmallBytes = 1 << 20;
constexpr int kRounds = 5;

template <class Action>
double seconds(const Action& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.at(values.size() / 2);
}

// Medians of the seconds that each action takes, in turns; the first round warms up.
template <class... Actions>
std::array<double, sizeof...(Actions)> take_turns(const Actions&... actions) {
  std::array<std::vector<double>, sizeof...(Actions)> times;
  for (int round = 0; round <= kRounds; ++round) {
    std::size_t i = 0;
    ((times[i].push_back(seconds(actions)), ++i), ...);
  }
  std::array<double, sizeof...(Actions)> medians;
  for (std::size_t i = 0; i < medians.size(); ++i) {
    medians[i] = median({times[i].begin() + 1, times[i].end()});
  }
  return medians;
}

template <class Work>
void with_threads(int threads, const Work& work) {
  std::vector<std::jthread> others;
  for (int i = 0; i < threads; ++i) others.emplace_back([&work, i] { work(i); });
}

Checkpoint newest(const fs::path& folder) {
  return Checkpoint::open(checkpoint_path(folder, list_checkpoints(folder).at(0)));
}

void make(const fs::path& folder, std::size_t mib) {
  std::mt19937_64 random(1);
  Bytes bytes(kTensorBytes);  // all tensors have the same: only where they lie matters
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  CheckpointContents contents;
  const auto add = [&](const std::string& name, std::size_t size) {
    const auto elements = static_cast<std::int64_t>(size / sizeof(float));
    contents.tensors.push_back({name, DType::float32, {elements}, 0, elements, bytes.data()});
  };
  for (std::size_t i = 0; i < (mib << 20) / kTensorBytes; ++i) add(fmt::format("/model/layer{:05}", i), kTensorBytes);
  add("/model/small", kSmallBytes);
  write_checkpoint(folder, contents);
}

double memory_mb(const char* field) {
  const std::string status = read_file("/proc/self/status");
  return std::stod(status.substr(status.find(field) + std::strlen(field))) * 1024 / 1e6;
}

// `numbers`: the rest of the line of JSON.
void print(const char* name, const Checkpoint& checkpoint, const std::string& numbers) {
  fmt::print("{{\"case\":\"{}\",\"contender\":\"lockstep\",\"ranks\":1,\"bytes\":{},{}}}\n", name, checkpoint.bytes(),
             numbers);
}

void open(const fs::path& folder) {
  Bytes bytes(kSmallBytes, std::byte{1});
  const double before = memory_mb("VmRSS:");  // LibTorch's libraries, most of it
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    times.push_back(seconds([&] { newest(folder).read("/model/small", bytes); }));
  }
  print("open", newest(folder),
        fmt::format("\"first_open_seconds\":{:.6f},\"open_seconds\":{:.6f},\"resident_bytes\":{:.0f}", times[0],
                    median(times), (memory_mb("VmHWM:") - before) * 1e6));
}

// What the reader reads, by nothing but pread.
void read_barely(const fs::path& file, std::span<Bytes> buffers, int threads) {
  const FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  with_threads(threads, [&](int thread) {
    for (std::size_t i = static_cast<std::size_t>(thread); i < buffers.size(); i += static_cast<std::size_t>(threads)) {
      if (::pread(descriptor.get(), buffers[i].data(), kTensorBytes, static_cast<off_t>(i * kTensorBytes)) < 0) {
        std::perror("pread");
      }
    }
  });
}

void copy(std::span<Bytes> buffers, int threads) {
  const std::size_t half = buffers.size() / 2;
  with_threads(threads, [&](int thread) {
    for (std::size_t i = static_cast<std::size_t>(thread); i < half; i += static_cast<std::size_t>(threads)) {
      std::memcpy(buffers[i].data(), buffers[half + i].data(), kTensorBytes);
    }
  });
}

void load(const fs::path& folder, int threads) {
  const Checkpoint checkpoint = newest(folder);
  std::vector<Bytes> buffers;
  std::vector<ReadRequest> requests;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.name == "/model/small") continue;
    buffers.emplace_back(kTensorBytes);
    requests.push_back({tensor.name, 0, buffers.back()});
  }
  const auto [loaded, barely, copied] = take_turns(
      [&] { checkpoint.read(requests, threads); },
      [&] { read_barely(checkpoint.path() / "rank-00000.h5", buffers, threads); }, [&] { copy(buffers, threads); });
  const double bytes = static_cast<double>(buffers.size() * kTensorBytes);
  print("load", checkpoint,
        fmt::format("\"threads\":{},\"load_rate\":{:.0f},\"pread_rate\":{:.0f},\"memcpy_rate\":{:.0f}", threads,
                    bytes / loaded, bytes / barely, bytes / 2 / copied));
}

void forget_pages(const fs::path& checkpoint) {
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const FileDescriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

void read_in_order(const fs::path& checkpoint) {
  Bytes buffer(1 << 20);
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const FileDescriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    while (::read(file.get(), buffer.data(), buffer.size()) > 0) {
    }
  }
}

void verify(const fs::path& folder, int threads) {
  const fs::path path = newest(folder).path();
  for (const bool cold : {false, true}) {
    std::vector<double> verified;
    std::vector<double> read;
    for (int round = 0; round < kRounds; ++round) {
      if (cold) forget_pages(path);
      verified.push_back(seconds([&] { newest(folder).verify(threads); }));
      if (cold) forget_pages(path);
      read.push_back(seconds([&] { read_in_order(path); }));
    }
    print(cold ? "verify" : "verify_warm", newest(folder),
          fmt::format("\"threads\":{},\"verify_seconds\":{:.6f},\"read_seconds\":{:.6f}", threads, median(verified),
                      median(read)));
  }
}

int run(std::span<char*> arguments) {
  const auto number = [&] { return std::max(std::atoi(arguments[3]), 1); };
  const std::string_view what = arguments.size() > 2 ? arguments[1] : "";
  if (what == "open" && arguments.size() == 3) {
    open(arguments[2]);
  } else if (what == "make" && arguments.size() == 4) {
    make(arguments[2], static_cast<std::size_t>(number()));
  } else if (what == "load" && arguments.size() == 4) {
    load(arguments[2], number());
  } else if (what == "verify" && arguments.size() == 4) {
    verify(arguments[2], number());
  } else {
    fmt::print(stderr, "usage: bench_checkpoint_read make FOLDER MIB | open FOLDER | load|verify FOLDER THREADS\n");
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
  try {
    return lockstep::run({arguments, static_cast<std::size_t>(count)});
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
