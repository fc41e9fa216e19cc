// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "comm/oracle.hpp"
#include "gpu/cuda_api.hpp"

// Calls of our CUDA kernels, for the references on the host and for a device. Everything that a call reads or writes
// lies in one image, so that whole images are compared: what must not be touched, too.
namespace lockstep::testing {

struct Plan {
  std::string name;
  std::vector<int> combines;
};
// T(n) of ranks with one leaf each, for few and for many ranks; ranks with several partials, of equal and of any number
// of leaves.
[[nodiscard]] std::vector<Plan> plans();

struct ReduceCase {
  DType dtype;
  ReduceOp op;
  std::vector<int> combines;
  std::int64_t elements;
  std::size_t gap_bytes = 0;     // between an input's end, rounded up to 16 bytes, and the next one
  std::size_t offset_bytes = 0;  // of the first input and of the output, behind a multiple of 16

  [[nodiscard]] Bytes image() const;
  [[nodiscard]] comm::gpu::ReduceSlices call(std::byte* image) const;

 private:
  [[nodiscard]] std::size_t stride() const;
};
// `check(test case)` for every reduction that has a meaning, in each plan, aligned for vectors and not.
template <class Check>
void for_every_reduction(const Check& check) {
  for (const Plan& plan : plans()) {
    for (const DType dtype : kDTypes) {
      for (const ReduceOp op : kOps) {
        if (!has_meaning(dtype, op)) continue;
        for (const std::size_t misaligned : {std::size_t{0}, size_of(dtype)}) {
          const std::string name = plan.name + ", " + std::string(name_of(dtype)) + ", " + std::string(name_of(op));
          check(ReduceCase{dtype, op, plan.combines, 203, misaligned, misaligned}, name);
        }
      }
    }
  }
}

inline constexpr DType kFloats[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};

// More ranges than fit into one launch, of sizes around those at which kernels split, each as far from alignment as the
// one before and an element more.
struct CopyCase {
  DType from;
  DType to;

  [[nodiscard]] Bytes image() const;
  [[nodiscard]] std::vector<comm::gpu::ScaledCopy> copies(std::byte* image) const;
};

// Ranges of all dtypes, in turn, as those of CopyCase are.
struct UnscaleCase {
  bool finite = true;            // else special values are among them
  std::size_t offset_bytes = 0;  // of all ranges, behind a multiple of 16

  [[nodiscard]] Bytes image(float scale) const;
  [[nodiscard]] std::vector<comm::gpu::FloatRange> ranges(std::byte* image) const;
  [[nodiscard]] comm::gpu::Unscale call(std::byte* image, std::span<const comm::gpu::FloatRange> ranges) const;

  struct Results {
    double squared_norm = -1.0;
    float scale = 1.0F;
    float non_finite = 0.0F;
  };
  [[nodiscard]] static Results results(const Bytes& image);
  static void forget_scratch(Bytes& image);
};

}  // namespace lockstep::testing
