// SPDX-License-Identifier: Apache-2.0
#include "comm/collective_cases.hpp"

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::int64_t kSizes[] = {0, 1, 7, 113, 5000, 70'001};  // 113 floats are more than a header carries inline

// The definition of T(n), written down once more, as plainly as possible.
float tree_sum(const std::vector<std::vector<float>>& leaves, std::size_t first, std::size_t count,
               std::size_t element) {
  if (count == 1) return leaves[first][element];
  std::size_t left = 1;
  while (left * 2 < count) left *= 2;
  return tree_sum(leaves, first, left, element) + tree_sum(leaves, first + left, count - left, element);
}

std::vector<std::vector<float>> random_leaves(std::int64_t leaves, std::int64_t elements) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> values(static_cast<std::size_t>(leaves));
  for (auto& leaf : values) {
    for (std::int64_t i = 0; i < elements; ++i) leaf.push_back(normal(generator) * std::ldexp(1.0F, i % 20));
  }
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The sums of the leaves that this rank owns, as a training step makes them.
struct OwnPartials {
  std::vector<std::vector<float>> memory;
  std::vector<Partial> partials;
};

OwnPartials own_partials(const Communicator& world, const std::vector<std::vector<float>>& leaves) {
  const auto total = static_cast<std::int64_t>(leaves.size());
  OwnPartials own;
  for (const Range& range : subtrees_in(even_split(total, world.world_size(), world.rank()), total)) {
    std::vector<float> sum(leaves[0].size());
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] = tree_sum(leaves, static_cast<std::size_t>(range.first), static_cast<std::size_t>(range.size()), i);
    }
    own.memory.push_back(std::move(sum));
    own.partials.push_back({.first_leaf = range.first, .leaves = range.size()});
  }
  for (std::size_t i = 0; i < own.partials.size(); ++i) {
    own.partials[i].data = reinterpret_cast<const std::byte*>(own.memory[i].data());
  }
  return own;
}

void partial_sums_give_the_bits_of_the_tree(Communicator& world) {
  for (const std::int64_t total : {1, 2, 3, 4, 5, 7, 8, 12, 13}) {
    if (total < world.world_size()) continue;
    for (const std::int64_t elements : kSizes) {
      const auto leaves = random_leaves(total, elements);
      std::vector<float> expected(static_cast<std::size_t>(elements));
      const float scale = 1.0F / static_cast<float>(total);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = tree_sum(leaves, 0, static_cast<std::size_t>(total), i) * scale;
      }
      const OwnPartials own = own_partials(world, leaves);
      std::vector<float> result(static_cast<std::size_t>(elements));
      world.reduce_partials({result.data(), elements, DType::float32}, {own.partials, total, scale}).wait();
      EXPECT_TRUE(same_bits(result, expected)) << total << " leaves of " << elements << " elements";
    }
  }
}

void partial_sums_may_be_reduced_in_place(Communicator& world) {
  const std::int64_t total = std::max(6, world.world_size());
  const auto leaves = random_leaves(total, 5000);
  OwnPartials own = own_partials(world, leaves);
  std::vector<float> expected(5000);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = tree_sum(leaves, 0, leaves.size(), i);
  std::vector<float>& memory = own.memory.back();
  world.reduce_partials({memory.data(), 5000, DType::float32}, {own.partials, total, 1.0}).wait();
  EXPECT_TRUE(same_bits(memory, expected));
}

void partial_sums_of_different_numbers_of_leaves_may_be_in_flight(Communicator& world) {
  const std::int64_t ranks = world.world_size();
  std::vector<OwnPartials> owned;
  std::vector<std::vector<float>> expected;
  for (const std::int64_t total : {ranks, 2 * ranks + 1, 3 * ranks + 2}) {
    const auto leaves = random_leaves(total, 5000);
    owned.push_back(own_partials(world, leaves));
    expected.emplace_back(5000);
    for (std::size_t i = 0; i < 5000; ++i) expected.back()[i] = tree_sum(leaves, 0, static_cast<std::size_t>(total), i);
  }
  std::vector<std::vector<float>> results(3, std::vector<float>(5000));
  std::vector<Work> works;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto factor = static_cast<std::int64_t>(i);
    works.push_back(world.reduce_partials({results[i].data(), 5000, DType::float32},
                                          {owned[i].partials, (factor + 1) * ranks + factor, 1.0}));
  }
  wait_all(works);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(results[i], expected[i]));
}

void partial_sums_of_other_leaves_are_refused(Communicator& world) {
  float value = 1;
  const Partial wrong{.first_leaf = world.rank() + 1, .leaves = 1, .data = reinterpret_cast<std::byte*>(&value)};
  EXPECT_THROW(
      {
        auto work = world.reduce_partials({&value, 1, DType::float32}, {{&wrong, 1}, world.world_size(), 1.0});
      },
      UsageError);
}

// Small whole numbers are exact in every dtype, so one formula serves all.
void every_reduction_of_every_dtype_gives_the_exact_result(Communicator& world) {
  const int n = world.world_size();
  for (const at::ScalarType dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte}) {
    for (const std::int64_t elements : kSizes) {
      const at::Tensor base = at::arange(elements, at::kLong).remainder(3);
      const auto expect = [&](ReduceOp op, const at::Tensor& expected) {
        at::Tensor tensor = base.add(world.rank() + 1).to(dtype);
        world.all_reduce(tensor, op).wait();
        EXPECT_TRUE(at::equal(tensor, expected.to(dtype)))
            << name_of(op) << " of " << elements << " × " << c10::toString(dtype);
      };
      at::Tensor product = at::ones({elements}, at::kLong);
      for (int rank = 0; rank < n; ++rank) product.mul_(base.add(rank + 1));
      expect(ReduceOp::sum, base.mul(n).add(n * (n + 1) / 2));
      expect(ReduceOp::min, base.add(1));
      expect(ReduceOp::max, base.add(n));
      expect(ReduceOp::prod, product);  // 8-bit integers wrap, like the conversion
    }
  }
}

void avg_divides_by_the_ranks(Communicator& world) {
  at::Tensor tensor = at::full({9}, 3.0F * static_cast<float>(world.rank()));
  world.all_reduce(tensor, ReduceOp::avg).wait();
  const double sum = 3.0 * world.world_size() * (world.world_size() - 1) / 2;
  const float expected = static_cast<float>(sum) * (1.0F / static_cast<float>(world.world_size()));
  EXPECT_EQ(tensor[4].item<float>(), expected);
}

void sixteen_bit_floats_are_rounded_once(Communicator& world) {
  // 1 + 2⁻⁸ is not a bfloat16: added rank by rank in bfloat16 the small parts would all be lost.
  at::Tensor tensor = at::full({300}, world.rank() == 0 ? 1.0 : 0.00390625, at::kBFloat16);
  world.all_reduce(tensor).wait();
  const float exact = 1.0F + 0.00390625F * static_cast<float>(world.world_size() - 1);
  EXPECT_EQ(tensor[299].item<float>(), static_cast<float>(c10::BFloat16(exact)));
}

void min_and_max_order_nan_and_signed_zeros(Communicator& world) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const bool first = world.rank() == 0;
  const bool alone = world.world_size() == 1;
  at::Tensor low = at::tensor({first ? nan : 1.0F, first ? -0.0F : 0.0F});
  at::Tensor high = low.clone();
  world.all_reduce(low, ReduceOp::min).wait();
  world.all_reduce(high, ReduceOp::max).wait();
  EXPECT_TRUE(std::isnan(low[0].item<float>()));
  EXPECT_TRUE(std::isnan(high[0].item<float>()));
  EXPECT_TRUE(std::signbit(low[1].item<float>()));
  EXPECT_EQ(std::signbit(high[1].item<float>()), alone);
}

void reductions_without_meaning_are_refused(Communicator& world) {
  at::Tensor whole = at::ones({2}, at::kLong);
  at::Tensor real = at::ones({2});
  at::Tensor flag = at::ones({2}, at::kBool);
  EXPECT_THROW({ auto work = world.all_reduce(whole, ReduceOp::avg); }, UsageError);
  EXPECT_THROW({ auto work = world.all_reduce(real, ReduceOp::bit_or); }, UsageError);
  EXPECT_THROW({ auto work = world.all_reduce(flag, ReduceOp::sum); }, UsageError);
  at::Tensor strided = at::ones({4, 4}).slice(1, 0, 4, 2);
  EXPECT_THROW({ auto work = world.all_reduce(strided); }, UsageError);
}

void broadcast_copies_from_every_root(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const std::int64_t elements : kSizes) {
      at::Tensor tensor = at::full({elements}, world.rank(), at::kInt);
      world.broadcast(tensor, root).wait();
      EXPECT_TRUE(at::equal(tensor, at::full({elements}, root, at::kInt)));
    }
    EXPECT_EQ(world.broadcast(world.rank() == root ? std::string(3000, 'x') : "", root), std::string(3000, 'x'));
  }
  at::Tensor tensor = at::ones({1});
  EXPECT_THROW({ auto work = world.broadcast(tensor, world.world_size()); }, UsageError);
}

void all_gather_orders_rows_by_rank(Communicator& world) {
  for (const std::int64_t elements : kSizes) {
    const at::Tensor input = at::full({elements}, world.rank() + 1, at::kLong);
    at::Tensor output = at::zeros({world.world_size(), elements}, at::kLong);
    world.all_gather(output, input).wait();
    for (int rank = 0; rank < world.world_size(); ++rank) {
      EXPECT_TRUE(at::equal(output[rank], at::full({elements}, rank + 1, at::kLong)));
    }
  }
}

void reduce_scatter_gives_each_rank_its_row(Communicator& world) {
  for (const std::int64_t elements : kSizes) {
    at::Tensor input = at::empty({world.world_size(), elements}, at::kDouble);
    for (int row = 0; row < world.world_size(); ++row) input[row].fill_(10 * row + world.rank());
    at::Tensor output = at::zeros({elements}, at::kDouble);
    world.reduce_scatter(output, input).wait();
    const int n = world.world_size();
    EXPECT_TRUE(at::equal(output, at::full({elements}, 10 * world.rank() * n + n * (n - 1) / 2, at::kDouble)));
  }
}

void works_in_flight_on_two_communicators_may_be_waited_for_in_any_order(Communicator& world) {
  Communicator other = world.duplicate("other");
  std::vector<at::Tensor> tensors;
  std::vector<Work> works;
  for (int i = 0; i < 10; ++i) tensors.push_back(at::full({i % 2 == 0 ? 20'000 : 3}, i + world.rank(), at::kDouble));
  for (int i = 0; i < 10; ++i)
    works.push_back((i % 3 == 0 ? other : world).all_reduce(tensors[static_cast<std::size_t>(i)]));
  for (int i = 9; i >= 0; --i) works[static_cast<std::size_t>(i)].wait();
  const int n = world.world_size();
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(tensors[static_cast<std::size_t>(i)][2].item<double>(), n * i + n * (n - 1) / 2);
  other.close();
}

void a_mismatched_call_names_both_ranks_and_both_calls(Communicator& world) {
  if (world.world_size() == 1) return;
  Communicator other = world.duplicate("other");
  at::Tensor tensor = at::ones({world.rank() == 0 ? 4 : 5});
  EXPECT_THAT(
      [&] { other.all_reduce(tensor).wait(); },
      ThrowsMessage<MismatchError>(AllOf(HasSubstr("rank 0: all_reduce #0 (4 × float32, sum"),
                                         HasSubstr(": all_reduce #0 (5 × float32, sum"), HasSubstr("\"other\""))));
  EXPECT_EQ(tensor.sum().item<float>(), static_cast<float>(tensor.numel())) << "data was touched before the check";
  EXPECT_THROW(other.barrier(), MismatchError) << "a failed communicator throws its first error again";
}

}  // namespace

const std::vector<CollectiveCase>& collective_cases() {
#define CASE(name) \
  { #name, name }
  static const std::vector<CollectiveCase> cases{
      CASE(partial_sums_give_the_bits_of_the_tree),
      CASE(partial_sums_may_be_reduced_in_place),
      CASE(partial_sums_of_different_numbers_of_leaves_may_be_in_flight),
      CASE(partial_sums_of_other_leaves_are_refused),
      CASE(every_reduction_of_every_dtype_gives_the_exact_result),
      CASE(avg_divides_by_the_ranks),
      CASE(sixteen_bit_floats_are_rounded_once),
      CASE(min_and_max_order_nan_and_signed_zeros),
      CASE(reductions_without_meaning_are_refused),
      CASE(broadcast_copies_from_every_root),
      CASE(all_gather_orders_rows_by_rank),
      CASE(reduce_scatter_gives_each_rank_its_row),
      CASE(works_in_flight_on_two_communicators_may_be_waited_for_in_any_order),
      CASE(a_mismatched_call_names_both_ranks_and_both_calls),
  };
#undef CASE
  return cases;
}

}  // namespace lockstep::testing
