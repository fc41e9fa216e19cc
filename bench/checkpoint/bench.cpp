// SPDX-License-Identifier: Apache-2.0
#include "bench.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <random>
#include <stdexcept>

#include "clock.hpp"
#include "lockstep/base/file.hpp"

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMatrix = 192;

double page_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_minflt + usage.ru_majflt);
}

void fill(std::span<std::byte> bytes) {
  std::mt19937_64 random(20261123);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t value = random();
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
}

// Memory of rank 0 that the other ranks map too, through its file descriptor; anonymous memory for one rank.
Memory shared_memory(const Bench& bench, std::size_t bytes) {
  if (bench.world.world_size() == 1) {
    Memory memory(bytes, -1);
    fill(memory.get());
    return memory;
  }
  lockstep::FileDescriptor own;
  if (bench.world.rank() == 0) {
    own = lockstep::FileDescriptor(::memfd_create("state", MFD_CLOEXEC));
    if (!own || ::ftruncate(own.get(), static_cast<off_t>(bytes)) != 0) throw std::runtime_error("memfd_create");
    void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, own.get(), 0);
    if (address == MAP_FAILED) throw std::runtime_error("mmap");
    fill({static_cast<std::byte*>(address), bytes});
    ::munmap(address, bytes);
  }
  const std::string path = bench.world.broadcast(fmt::format("/proc/{}/fd/{}", ::getpid(), own.get()), 0);
  const lockstep::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw std::runtime_error("open " + path);
  Memory memory(bytes, file.get());
  bench.world.barrier();
  return memory;
}

}  // namespace

double Bench::most(double value) const {
  world.all_reduce(lockstep::Buffer{&value, 1, lockstep::DType::float64}, lockstep::ReduceOp::max).wait();
  return value;
}

void Bench::print(const std::string& name, const std::string& contender, std::size_t state_bytes,
                  nlohmann::json numbers) const {
  if (world.rank() != 0) return;
  numbers.update({{"case", name}, {"contender", contender}, {"ranks", world.world_size()}, {"bytes", state_bytes}});
  std::cout << numbers.dump() << std::endl;
}

void Bench::clear() const {
  on_first([&] {
    for (const auto& entry : fs::directory_iterator(folder)) fs::remove_all(entry.path());
    ::sync();
    return 0;
  });
}

State::State(const Bench& bench, std::size_t bytes, std::size_t tensors)
    : tensors_(tensors),
      elements_(std::max<std::size_t>(bytes / tensors / 64, 1) * 16),
      memory_(shared_memory(bench, (elements_ * sizeof(float) * tensors + kPage - 1) / kPage * kPage)) {
  const auto all = memory_.get();
  if (::madvise(all.data(), all.size(), MADV_POPULATE_READ) != 0) throw std::runtime_error("madvise");
}

std::span<std::byte> State::tensor(std::size_t index) const {
  const std::size_t bytes = elements_ * sizeof(float);
  return memory_.get().subspan(index * bytes, bytes);
}

lockstep::CheckpointContents State::contents(std::int64_t step) const {
  lockstep::CheckpointContents contents{
      .step = step, .seed = 1, .determinism = {}, .tensors = {}, .blobs = {{"loader", "{}"}}};
  const auto elements = static_cast<std::int64_t>(elements_);
  for (std::size_t i = 0; i < tensors_; ++i) {
    contents.tensors.push_back({.name = fmt::format("/model/layer{:06}.weight", i),
                                .global_shape = {elements / 16, 16},
                                .elements = elements,
                                .data = tensor(i).data(),
                                .changes_in_forward = i % 100 == 0});
  }
  return contents;
}

std::vector<Bytes> State::pieces() const {
  std::vector<Bytes> pieces;
  for (std::size_t i = 0; i < tensors_; ++i) pieces.push_back(tensor(i));
  return pieces;
}

std::size_t State::name_bytes() const {
  std::size_t bytes = 0;
  for (const auto& tensor : contents(0).tensors) bytes += tensor.name.size();
  return bytes;
}

void State::flip(std::size_t first) {
  for (std::size_t i = first; i < tensors_; i += 100) {
    for (std::byte& byte : tensor(i)) byte = ~byte;
  }
}

SaveTimes timed_save(const Bench& bench, lockstep::CheckpointSaver& saver,
                     const lockstep::CheckpointContents& contents) {
  SaveTimes times;
  bench.world.barrier();
  const double faults = page_faults();
  const auto began = Clock::now();
  saver.save(contents);
  times.stall = seconds_since(began);
  times.faults = page_faults() - faults;
  times.path = finished(saver);
  times.durable = bench.most(seconds_since(began));
  times.stall = bench.most(times.stall);
  times.faults = bench.most(times.faults);
  return times;
}

fs::path finished(lockstep::CheckpointSaver& saver) {
  const auto outcome = saver.finish();
  if (!outcome || !outcome->failure.empty()) throw std::runtime_error(outcome ? outcome->failure : "nothing was saved");
  return outcome->path;
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

Compute::Compute() : a_(kMatrix * kMatrix, 0.5F), b_(a_), c_(a_) {}

void Compute::multiply() {
  for (std::size_t row = 0; row < kMatrix; ++row) {
    for (std::size_t k = 0; k < kMatrix; ++k) {
      const float factor = a_[row * kMatrix + k] * 1e-3F;
      for (std::size_t column = 0; column < kMatrix; ++column) {
        c_[row * kMatrix + column] += factor * b_[k * kMatrix + column];
      }
    }
  }
}

void Compute::operator()() {
  for (std::int64_t i = 0; i < multiplications_; ++i) multiply();
}

void Compute::calibrate(const Bench& bench, double seconds) {
  std::vector<double> each;
  for (int i = 0; i < 21; ++i) {
    const auto began = Clock::now();
    multiply();
    each.push_back(seconds_since(began));
  }
  multiplications_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / bench.most(median(each))));
}

}  // namespace bench
