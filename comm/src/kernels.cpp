// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <cassert>

namespace lockstep::comm {

std::vector<int> combines_after(std::span<const Partial> partials, std::int64_t leaves) {
  std::vector<int> combines;
  std::vector<Range> stack;
  for (const Partial& partial : partials) {
    stack.push_back(partial.range());
    int count = 0;
    while (stack.size() > 1 && is_subtree({stack[stack.size() - 2].first, stack.back().last}, leaves)) {
      stack[stack.size() - 2].last = stack.back().last;
      stack.pop_back();
      ++count;
    }
    combines.push_back(count);
  }
  assert(stack.size() == 1 && stack.front() == (Range{0, leaves}));
  return combines;
}

std::vector<const KernelTable*> available_kernels() {
  std::vector<const KernelTable*> tables{&scalar_kernels()};
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (avx2) tables.push_back(&avx2_kernels());
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx2 && avx512) tables.push_back(&avx512_kernels());
  return tables;
}

namespace {

const KernelTable& widest() {
  static const KernelTable& table = *available_kernels().back();
  return table;
}

// Of KernelTable::widen and narrow.
std::size_t index_of_16_bit(DType dtype) {
  assert(dtype == DType::float16 || dtype == DType::bfloat16);
  return dtype == DType::float16 ? 0 : 1;
}

}  // namespace

void widen(const std::byte* input, std::int64_t elements, DType dtype, float* output) {
  widest().widen[index_of_16_bit(dtype)](input, elements, output);
}

void narrow(const float* input, std::int64_t elements, DType dtype, std::byte* output) {
  widest().narrow[index_of_16_bit(dtype)](input, elements, output);
}

void reduce_slice(std::span<const std::byte* const> inputs, std::span<const int> combines, std::int64_t elements,
                  DType dtype, ReduceOp op, double scale, std::byte* output, std::span<std::byte* const> copies) {
  const auto reduce = widest().reduce[static_cast<int>(dtype)][static_cast<int>(op)];
  assert(reduce != nullptr && "check_reducible() refuses this");
  reduce(inputs.data(), combines.data(), static_cast<int>(inputs.size()), elements, scale, output, copies.data(),
         static_cast<int>(copies.size()));
}

}  // namespace lockstep::comm
