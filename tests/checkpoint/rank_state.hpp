// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/split.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/comm/communicator.hpp"

// A job's state for tests of savers: replicated and sharded tensors whose values follow from name and step.
namespace lockstep::test {

// The whole of a tensor, a function of its name and the step.
inline std::vector<float> values(const std::string& name, std::int64_t step, std::int64_t elements) {
  std::mt19937 random(static_cast<unsigned>(std::hash<std::string>{}(name) + static_cast<std::size_t>(step)));
  std::vector<float> result(static_cast<std::size_t>(elements));
  for (float& value : result) value = static_cast<float>(random()) / 65536.0F;
  return result;
}

struct Shape {
  std::string name;
  std::vector<std::int64_t> shape;
  bool sharded = false;  // rank r has a contiguous part of it
  bool buffer = false;
  [[nodiscard]] std::int64_t elements() const {
    std::int64_t product = 1;
    for (const std::int64_t dimension : shape) product *= dimension;
    return product;
  }
};

inline const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all{{"/model/embedding", {300, 257}, false, false},
                                      {"/model/fc.weight", {128, 33}, false, false},
                                      {"/model/fc.bias", {128}, false, false},
                                      {"/model/bn.running_mean", {64}, false, true},
                                      {"/model/scale", {}, false, false},
                                      {"/model/none", {0, 4}, false, false},
                                      {"/optimizer/m", {100'003}, true, false},
                                      {"/optimizer/v", {7}, true, false}};
  return all;
}

// One rank's state.
class RankState {
 public:
  RankState(const Communicator& world, std::int64_t step) {
    contents.step = step;
    contents.seed = 7;
    contents.determinism = {.micro_batches = 4, .intra_op_threads = 1, .libtorch = "2.11.0", .cpu_capability = "AVX2"};
    contents.blobs = {{"loader", "{\"position\":" + std::to_string(step) + "}"}};
    contents.metrics = {{"loss", 1.0 / static_cast<double>(step)}};
    for (const Shape& shape : shapes()) {
      std::vector<float> all = values(shape.name, step, shape.elements());
      const Range own =
          shape.sharded ? even_split(shape.elements(), world.world_size(), world.rank()) : Range{0, shape.elements()};
      memory.emplace_back(all.begin() + own.first, all.begin() + own.last);
      contents.tensors.push_back({shape.name, DType::float32, shape.shape, own.first, own.size(),
                                  reinterpret_cast<const std::byte*>(memory.back().data()), shape.buffer});
    }
  }
  void overwrite() {
    for (auto& tensor : memory) std::ranges::fill(tensor, -1.0F);
  }
  std::vector<std::vector<float>> memory;
  CheckpointContents contents;
};

inline void expect_holds_step(const std::filesystem::path& path, std::int64_t step) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  checkpoint.verify();
  EXPECT_EQ(checkpoint.step(), step);
  EXPECT_EQ(checkpoint.tensors().size(), shapes().size());
  for (const Shape& shape : shapes()) {
    std::vector<float> read(static_cast<std::size_t>(shape.elements()));
    checkpoint.read(shape.name, std::as_writable_bytes(std::span(read)));
    EXPECT_EQ(read, values(shape.name, step, shape.elements())) << shape.name;
  }
  EXPECT_EQ(checkpoint.blob("loader"), "{\"position\":" + std::to_string(step) + "}");
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

}  // namespace lockstep::test
