// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {

// The contents of a checkpoint together with the bytes that it borrows.
struct SampleState {
  CheckpointContents contents{};
  std::map<std::string, std::vector<std::byte>> bytes{};

  // Adds a tensor with arbitrary bytes; the same for the same name and step.
  void add(const std::string& name, DType dtype, std::vector<std::int64_t> shape) {
    std::int64_t elements = 1;
    for (const std::int64_t dimension : shape) elements *= dimension;
    auto& data = bytes[name];
    data.resize(static_cast<std::size_t>(elements) * size_of(dtype));
    std::mt19937 generator(static_cast<unsigned>(contents.step) * 1000U + static_cast<unsigned>(name.size()));
    // Booleans are 0 or 1; the low bit of anything else is as arbitrary as the rest.
    const unsigned mask = dtype == DType::boolean ? 1U : 255U;
    for (std::byte& value : data) value = static_cast<std::byte>(generator() & mask);
    contents.tensors.push_back({name, dtype, std::move(shape), 0, elements, data.data()});
  }
};

// Small, with two parameters and the loader's position.
inline SampleState small_state(std::int64_t step) {
  SampleState state;
  state.contents.step = step;
  state.contents.seed = 18'000'000'000'000'000'000U;
  state.contents.determinism = {
      .micro_batches = 4, .intra_op_threads = 2, .libtorch = "2.11.0", .cpu_capability = "AVX2"};
  state.add("/model/conv1.weight", DType::float32, {32, 1, 3, 3});
  state.add("/model/conv1.bias", DType::float32, {32});
  state.contents.blobs["loader"] = R"({"position":1280})";
  return state;
}

inline std::vector<std::byte> read_tensor(const Checkpoint& checkpoint, const std::string& name) {
  const StoredTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
  std::size_t bytes = size_of(tensor->dtype);
  for (const std::int64_t dimension : tensor->shape) bytes *= static_cast<std::size_t>(dimension);
  std::vector<std::byte> data(bytes);
  checkpoint.read(name, data);
  return data;
}

// Expects `checkpoint` to hold every bit of `state`.
inline void expect_holds(const Checkpoint& checkpoint, const SampleState& state) {
  EXPECT_EQ(checkpoint.step(), state.contents.step);
  EXPECT_EQ(checkpoint.tensors().size(), state.contents.tensors.size());
  for (const auto& [name, data] : state.bytes) EXPECT_EQ(read_tensor(checkpoint, name), data) << name;
  for (const auto& [name, text] : state.contents.blobs) EXPECT_EQ(checkpoint.blob(name), text) << name;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// Inverts one bit of a file; doing it again restores the file.
inline void flip_bit(const std::filesystem::path& path, std::uint64_t offset, unsigned bit) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const auto value = static_cast<unsigned>(file.get());
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(value ^ (1U << bit)));
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// The text of the CheckpointError that `action` throws; empty, and a failure of the test, if it throws none.
template <class Action>
std::string checkpoint_error(Action&& action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no CheckpointError was thrown";
  return {};
}

}  // namespace lockstep
