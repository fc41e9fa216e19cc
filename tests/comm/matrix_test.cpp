// SPDX-License-Identifier: Apache-2.0
#include "comm/matrix.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>

#include "comm/oracle.hpp"
#include "comm/thread_ranks.hpp"

namespace lockstep::testing {
namespace {

class Matrix : public ::testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  void check(const std::vector<MatrixCell>& cells) {
    const auto& [backend, world_size] = GetParam();
    on_threads(backend, world_size, [&](Communicator& world) { check_cells(world, cells); });
  }
  [[nodiscard]] unsigned seed() const { return static_cast<unsigned>(std::get<1>(GetParam())); }
};

TEST_P(Matrix, reductions_give_the_bits_of_the_oracle) { check(every_pair_of_factors(all_reductions(), seed())); }
TEST_P(Matrix, moves_give_the_bits_of_their_source) { check(every_pair_of_factors(all_moves(), seed())); }
TEST_P(Matrix, calls_without_meaning_are_refused) {
  const auto& [backend, world_size] = GetParam();
  on_threads(backend, world_size, check_refusals);
}

TEST_P(Matrix, a_tensor_in_pieces_has_the_bits_of_the_whole) {
  const auto& [backend, world_size] = GetParam();
  on_threads(backend, world_size, check_splits);
}

// By tests/comm/matrix_all.
TEST_P(Matrix, DISABLED_all_reductions_give_the_bits_of_the_oracle) { check(all_reductions()); }
TEST_P(Matrix, DISABLED_all_moves_give_the_bits_of_their_source) { check(all_moves()); }

INSTANTIATE_TEST_SUITE_P(Threads, Matrix,
                         ::testing::Combine(::testing::Values("local", "shm", "nodes"),
                                            ::testing::Values(1, 2, 3, 4, 5, 8)),
                         [](const auto& instance) {
                           return std::get<0>(instance.param) + "_at_" + std::to_string(std::get<1>(instance.param));
                         });

TEST(SameBits, at_every_number_of_ranks_with_the_leaves_fixed) {
  for (const char* const backend : {"local", "shm", "nodes"}) {
    for (int world_size = 1; world_size <= 8; ++world_size) {
      SCOPED_TRACE(std::string(backend) + " at " + std::to_string(world_size));
      on_threads(backend, world_size, check_fixed_leaves);
    }
  }
}

template <class T>
std::vector<T> as(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// LibTorch's own conversions agree with the oracle's on sums of all kinds of values.
template <class T>
void compare_with_libtorch(DType dtype) {
  constexpr std::int64_t kElements = 200'000;
  const Bytes leaves[] = {random_values(dtype, kElements, 1), random_values(dtype, kElements, 2)};
  const auto a = as<T>(leaves[0]);
  const auto b = as<T>(leaves[1]);
  const auto sums = as<T>(reduce_by_oracle(dtype, ReduceOp::sum, 0.3, leaves));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const T expected = (static_cast<float>(a[i]) + static_cast<float>(b[i])) * 0.3F;
    if (std::isnan(static_cast<float>(expected))) {
      ASSERT_TRUE(std::isnan(static_cast<float>(sums[i])));
    } else {
      ASSERT_EQ(sums[i].x, expected.x) << static_cast<float>(a[i]) << " + " << static_cast<float>(b[i]);
    }
  }
}

TEST(Oracle, rounds_float16_like_libtorch) { compare_with_libtorch<c10::Half>(DType::float16); }
TEST(Oracle, rounds_bfloat16_like_libtorch) { compare_with_libtorch<c10::BFloat16>(DType::bfloat16); }

TEST(Oracle, adds_in_the_order_of_the_tree) {
  const float values[] = {1e8F, 1.0F, -1e8F, 1.0F, 1.0F};  // in any other order another sum
  std::vector<Bytes> leaves(5, Bytes(sizeof(float)));
  for (std::size_t i = 0; i < 5; ++i) std::memcpy(leaves[i].data(), &values[i], sizeof(float));
  EXPECT_EQ(as<float>(reduce_by_oracle(DType::float32, ReduceOp::sum, 1.0, leaves))[0],
            ((1e8F + 1.0F) + (-1e8F + 1.0F)) + 1.0F);
}

}  // namespace
}  // namespace lockstep::testing
