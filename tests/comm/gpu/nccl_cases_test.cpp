// SPDX-License-Identifier: Apache-2.0
// What every backend must show, on NCCL: the bits are those of the oracle, and so of `local`.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>

#include "comm/collective_cases.hpp"
#include "comm/gpu/nccl_ranks.hpp"
#include "comm/matrix.hpp"
#include "gpu/nccl_ordered.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

// What NCCL cannot: compare calls before data is touched (the pulse does it meanwhile: gpu_watch_test), keep a message
// for a receiver that comes late, let a message overtake a collective.
const std::set<std::string> kOfTheHostAlone{
    "a_mismatched_call_names_both_ranks_and_both_calls",
    "all_to_all_with_parts_that_disagree_is_a_mismatch",
    "a_small_message_is_kept_for_its_receiver",
    "collectives_do_not_disturb_messages",
    "a_receive_of_another_size_than_its_send_is_a_mismatch",
    "a_small_receive_of_a_large_send_is_a_mismatch",
    "a_large_receive_of_a_small_send_is_a_mismatch",
    "a_receive_of_another_dtype_than_its_send_is_a_mismatch",
};

std::vector<CollectiveCase> cases_of_nccl() {
  std::vector<CollectiveCase> cases = collective_cases();
  std::erase_if(cases, [](const CollectiveCase& each) { return kOfTheHostAlone.contains(each.name); });
  return cases;
}

// Runs `check` where results can be looked at as soon as a work has been waited for.
template <class Check>
void on_visible_nccl(int world_size, const Check& check) {
  test::FakeGpus gpus(world_size);
  gpus.run_default_streams_on_caller();
  on_nccl(gpus, world_size, [&](NcclRank& rank) { check(rank.gpus); });
}

class NcclCollectives : public ::testing::TestWithParam<CollectiveCase> {};

TEST_P(NcclCollectives, hold_at_all_world_sizes) {
  for (const int world_size : {1, 2, 3, 4}) {
    SCOPED_TRACE(world_size);
    on_visible_nccl(world_size, GetParam().check);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, NcclCollectives, ::testing::ValuesIn(cases_of_nccl()),
                         [](const auto& instance) { return instance.param.name; });

class NcclMatrix : public ::testing::TestWithParam<int> {};

TEST_P(NcclMatrix, reductions_give_the_bits_of_the_oracle) {
  const auto cells = every_pair_of_factors(all_reductions(), 1);
  on_visible_nccl(GetParam(), [&](Communicator& gpus) { check_cells(gpus, cells); });
}

TEST_P(NcclMatrix, moves_give_the_bits_of_their_source) {
  const auto cells = every_pair_of_factors(all_moves(), 1);
  on_visible_nccl(GetParam(), [&](Communicator& gpus) { check_cells(gpus, cells); });
}

TEST_P(NcclMatrix, a_tensor_in_pieces_has_the_bits_of_the_whole) { on_visible_nccl(GetParam(), check_splits); }
TEST_P(NcclMatrix, fixed_leaves_give_the_same_bits) { on_visible_nccl(GetParam(), check_fixed_leaves); }

INSTANTIATE_TEST_SUITE_P(Ranks, NcclMatrix, ::testing::Values(1, 2, 3, 4));

// The calls of NCCL's API that `call` makes on rank 0 of two.
template <class Body>
std::vector<std::string> calls_of(const Body& body) {
  test::FakeGpus gpus(2);
  gpus.run_default_streams_on_caller();
  std::size_t before = 0;
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    if (rank.world.rank() == 0) before = gpus.nccl_calls(0).size();
    body(rank.gpus);
  });
  auto calls = gpus.nccl_calls(0);
  calls.erase(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(before));
  return calls;
}

TEST(NcclCalls, any_order_is_one_call_of_nccl) {
  std::vector<float> input(1000, 2.0F);
  const auto calls = calls_of([&](Communicator& gpus) {
    std::vector<float> output(1000);
    gpus.all_reduce({output.data(), 1000, DType::float32}, input.data(), ReduceOp::sum, {.order = ReduceOrder::any})
        .wait();
    EXPECT_EQ(output, std::vector<float>(1000, 4.0F));
  });
  EXPECT_EQ(calls, std::vector<std::string>{"all_reduce 0"});
}

TEST(NcclCalls, any_order_is_scaled_after_the_sum) {
  std::vector<float> input(1000, 2.0F);
  calls_of([&](Communicator& gpus) {
    std::vector<float> output(500);
    gpus.reduce_scatter({output.data(), 500, DType::float32}, input.data(), ReduceOp::sum,
                        {.order = ReduceOrder::any, .scale = 0.5})
        .wait();
    EXPECT_EQ(output, std::vector<float>(500, 2.0F));
  });
}

TEST(NcclCalls, any_order_of_what_nccl_lacks_is_the_order_of_the_tree) {
  const auto calls = calls_of([&](Communicator& gpus) {
    std::vector<std::int16_t> values(1000, 3);
    gpus.all_reduce({values.data(), 1000, DType::int16}, ReduceOp::bit_xor, {.order = ReduceOrder::any}).wait();
    EXPECT_EQ(values, std::vector<std::int16_t>(1000, 0));
  });
  EXPECT_EQ(calls, std::vector<std::string>{"all_gather 0"});
}

TEST(NcclCalls, a_small_tree_is_one_group) {
  const auto calls = calls_of([&](Communicator& gpus) {
    std::vector<float> values(100, 1.0F);
    gpus.reduce({values.data(), 100, DType::float32}, values.data(), 0).wait();
  });
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "group_end"), 1);
}

TEST(NcclCalls, a_row_of_messages_is_one_group) {
  const auto calls = calls_of([&](Communicator& gpus) {
    const int peer = 1 - gpus.rank();
    std::vector<float> sent(100, 1.0F), received(100);
    std::vector<Work> works;
    works.push_back(gpus.send({sent.data(), 100, DType::float32}, peer));
    works.push_back(gpus.receive({received.data(), 100, DType::float32}, peer));
    wait_all(works);
    EXPECT_EQ(received, sent);
  });
  EXPECT_EQ(calls, (std::vector<std::string>{"group_start", "send 0", "receive 0", "group_end"}));
}

TEST(NcclCalls, more_partial_sums_than_the_kernel_takes_are_refused) {
  constexpr int kRanks = comm::gpu::kMostInputs + 1;
  comm::TreePlan plan;
  plan.partials_of.assign(kRanks, 1);
  plan.combines.assign(kRanks, 0);
  const comm::Request request{.call = {.kind = comm::Kind::all_reduce, .dtype = DType::float32, .elements = 1}};
  EXPECT_THROW((comm::gpu::OrderedReduction(request, plan, 0, kRanks)), UsageError);
}

TEST(NcclCalls, a_large_tree_is_exchanged_in_slices) {
  constexpr std::int64_t kElements = 200'003;
  const auto calls = calls_of([&](Communicator& gpus) {
    std::vector<float> values(kElements, 1.0F);
    gpus.all_reduce({values.data(), kElements, DType::float32}).wait();
    EXPECT_EQ(values, std::vector<float>(kElements, 2.0F));
  });
  EXPECT_EQ(calls, (std::vector<std::string>{"group_start", "receive 0", "send 0", "group_end", "group_start",
                                             "all_gather 0", "broadcast 0", "group_end"}));
}

}  // namespace
}  // namespace lockstep::testing
