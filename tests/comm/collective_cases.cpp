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
#include "lockstep/comm/backend.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

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

OwnPartials partials_of(Range owned, const std::vector<std::vector<float>>& leaves) {
  OwnPartials own;
  for (const Range& range : subtrees_in(owned, static_cast<std::int64_t>(leaves.size()))) {
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

OwnPartials own_partials(const Communicator& world, const std::vector<std::vector<float>>& leaves) {
  return partials_of(even_split(static_cast<std::int64_t>(leaves.size()), world.world_size(), world.rank()), leaves);
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

void partial_sums_of_other_leaves_are_refused(Communicator& world) {
  float value = 1;
  const Partial wrong{.first_leaf = world.rank() + 1, .leaves = 1, .data = reinterpret_cast<std::byte*>(&value)};
  EXPECT_THROW(
      {
        auto work = world.reduce_partials({&value, 1, DType::float32}, {{&wrong, 1}, world.world_size(), 1.0});
      },
      UsageError);
}

// What other layers than Communicator may ask of a backend: ranks own different numbers of leaves, or none.
void leaves_may_be_spread_unevenly(Communicator& world) {
  Communicator other = world.duplicate("other");
  const int n = world.world_size();
  std::vector<std::int64_t> bounds;
  for (int rank = 0; rank <= n; ++rank) bounds.push_back(13 * rank * rank / (n * n));
  const auto self = static_cast<std::size_t>(world.rank());
  for (std::size_t i = 0; i + 1 < std::size(kSizes); ++i) {  // without the largest, which takes long to make
    const auto leaves = random_leaves(13, kSizes[i]);
    const OwnPartials own = partials_of({bounds[self], bounds[self + 1]}, leaves);
    std::vector<float> expected(leaves[0].size());
    for (std::size_t e = 0; e < expected.size(); ++e) expected[e] = tree_sum(leaves, 0, 13, e);
    std::vector<float> result(expected.size());
    comm::Backend& backend = other.backend();
    const comm::OperationPtr operation = backend.start({.call = {.kind = comm::Kind::all_reduce,
                                                                 .dtype = DType::float32,
                                                                 .elements = kSizes[i],
                                                                 .leaves = 13,
                                                                 .sequence = i},
                                                        .partials = own.partials,
                                                        .leaf_bounds = bounds,
                                                        .output = reinterpret_cast<std::byte*>(result.data())});
    while (operation->advance(std::chrono::steady_clock::time_point::max()) != comm::Advanced::fully)
      backend.idle(std::chrono::nanoseconds(0));
    EXPECT_TRUE(same_bits(result, expected)) << kSizes[i] << " elements";
  }
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

void reduce_scatter_takes_rows_of_different_sizes(Communicator& world) {
  const int n = world.world_size();
  for (const std::int64_t times : {1, 200}) {
    std::vector<std::int64_t> sizes;
    for (int rank = 0; rank < n; ++rank) sizes.push_back(((rank * 7) % 5 * 100 + rank) * times);
    const std::int64_t first = std::accumulate(sizes.begin(), sizes.begin() + world.rank(), std::int64_t{0});
    const std::int64_t all = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
    const auto leaves = random_leaves(n, all);
    std::vector<float> input = leaves[static_cast<std::size_t>(world.rank())];
    std::vector<float> row(static_cast<std::size_t>(sizes[static_cast<std::size_t>(world.rank())]));
    std::vector<float> expected(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      expected[i] = tree_sum(leaves, 0, static_cast<std::size_t>(n), static_cast<std::size_t>(first) + i);
    }
    const auto elements = static_cast<std::int64_t>(row.size());
    world.reduce_scatter({row.data(), elements, DType::float32}, input.data(), sizes).wait();
    EXPECT_TRUE(same_bits(row, expected)) << elements << " elements";
  }
}

void reduce_leaves_the_result_on_root_alone(Communicator& world) {
  const int n = world.world_size();
  for (int root = 0; root < n; ++root) {
    for (const std::int64_t elements : kSizes) {
      const at::Tensor own = at::arange(elements, at::kLong).add(world.rank());
      at::Tensor tensor = own.clone();
      world.reduce(tensor, root).wait();
      const at::Tensor sum = at::arange(elements, at::kLong).mul(n).add(n * (n - 1) / 2);
      EXPECT_TRUE(at::equal(tensor, world.rank() == root ? sum : own)) << elements << " elements, root " << root;
    }
  }
}

void reduce_out_of_place_needs_an_output_on_root_alone(Communicator& world) {
  const int root = world.world_size() - 1;
  for (const std::int64_t elements : kSizes) {
    const auto leaves = random_leaves(world.world_size(), elements);
    const std::vector<float>& own = leaves[static_cast<std::size_t>(world.rank())];
    const std::vector<float> input = own;
    std::vector<float> output(world.rank() == root ? input.size() : 0);
    float* const to = world.rank() == root ? output.data() : nullptr;
    world.reduce({to, elements, DType::float32}, input.data(), root).wait();
    EXPECT_TRUE(same_bits(input, own)) << "the input has changed";
    for (std::size_t i = 0; i < output.size(); ++i)
      ASSERT_EQ(output[i], tree_sum(leaves, 0, leaves.size(), i)) << "element " << i << " of " << elements;
  }
}

void all_reduce_out_of_place_keeps_its_input(Communicator& world) {
  for (const std::int64_t elements : kSizes) {
    const at::Tensor input = at::arange(elements, at::kDouble).add(world.rank());
    const at::Tensor before = input.clone();
    at::Tensor output = at::zeros({elements}, at::kDouble);
    world.all_reduce(output, input).wait();
    const int n = world.world_size();
    EXPECT_TRUE(at::equal(input, before));
    EXPECT_TRUE(at::equal(output, at::arange(elements, at::kDouble).mul(n).add(n * (n - 1) / 2)));
  }
}

void a_scaled_reduction_is_multiplied_once(Communicator& world) {
  const auto n = static_cast<float>(world.world_size());
  for (const std::int64_t elements : kSizes) {
    at::Tensor sum = at::full({elements}, 3.0F);
    world.all_reduce(sum, ReduceOp::sum, {.scale = 0.25}).wait();
    EXPECT_TRUE(at::equal(sum, at::full({elements}, 3.0F * n * 0.25F)));
    at::Tensor half = at::full({elements}, 49'152.0, at::kHalf);  // two of them are more than float16 holds
    world.all_reduce(half, ReduceOp::sum, {.scale = 0.125}).wait();
    EXPECT_TRUE(at::equal(half, at::full({elements}, 6144.0 * n, at::kHalf)));
  }
  at::Tensor whole = at::ones({2}, at::kLong);
  EXPECT_THROW({ auto work = world.all_reduce(whole, ReduceOp::sum, {.scale = 0.5}); }, UsageError);
}

void reductions_of_different_leaves_may_be_in_flight_together(Communicator& world) {
  const int n = world.world_size();
  const auto leaves = random_leaves(13, 20'000);
  const OwnPartials own = own_partials(world, leaves);
  std::vector<float> expected(leaves[0].size());
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = tree_sum(leaves, 0, 13, i);
  std::vector<float> sums(expected.size());
  std::vector<double> ones(20'000, 1.0);
  Work first = world.reduce_partials({sums.data(), 20'000, DType::float32}, {own.partials, 13, 1.0});
  Work second = world.all_reduce({ones.data(), 20'000, DType::float64});
  first.wait();
  second.wait();
  EXPECT_TRUE(same_bits(sums, expected));
  EXPECT_EQ(ones, std::vector<double>(20'000, n));
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
  static const std::vector<CollectiveCase> cases = [] {
    std::vector<CollectiveCase> all{
        CASE(partial_sums_give_the_bits_of_the_tree),
        CASE(partial_sums_may_be_reduced_in_place),
        CASE(partial_sums_of_other_leaves_are_refused),
        CASE(leaves_may_be_spread_unevenly),
        CASE(every_reduction_of_every_dtype_gives_the_exact_result),
        CASE(avg_divides_by_the_ranks),
        CASE(sixteen_bit_floats_are_rounded_once),
        CASE(min_and_max_order_nan_and_signed_zeros),
        CASE(reductions_without_meaning_are_refused),
        CASE(broadcast_copies_from_every_root),
        CASE(all_gather_orders_rows_by_rank),
        CASE(reduce_scatter_gives_each_rank_its_row),
        CASE(reduce_scatter_takes_rows_of_different_sizes),
        CASE(reduce_leaves_the_result_on_root_alone),
        CASE(reduce_out_of_place_needs_an_output_on_root_alone),
        CASE(all_reduce_out_of_place_keeps_its_input),
        CASE(a_scaled_reduction_is_multiplied_once),
        CASE(reductions_of_different_leaves_may_be_in_flight_together),
        CASE(works_in_flight_on_two_communicators_may_be_waited_for_in_any_order),
        CASE(a_mismatched_call_names_both_ranks_and_both_calls),
    };
    for (const auto& part : {move_cases(), message_cases(), split_cases()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
#undef CASE
  return cases;
}

}  // namespace lockstep::testing
