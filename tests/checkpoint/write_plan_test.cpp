// SPDX-License-Identifier: Apache-2.0
#include "plan/write_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "lockstep/base/error.hpp"
#include "lockstep/base/split.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Held = std::vector<std::vector<HeldSlice>>;

HeldSlice slice(const std::string& name, std::int64_t elements, std::int64_t first, std::int64_t count) {
  return {name, DType::float32, {elements}, first, count};
}

std::vector<double> loads(const WritePlan& plan, std::size_t ranks) {
  std::vector<double> result(ranks);
  for (const auto& tensor : plan.tensors) {
    for (const auto& piece : tensor.pieces) {
      result[static_cast<std::size_t>(piece.writer)] +=
          static_cast<double>(piece.elements) * static_cast<double>(size_of(tensor.dtype));
    }
  }
  return result;
}

double imbalance(const WritePlan& plan, std::size_t ranks) {
  const auto by_rank = loads(plan, ranks);
  const double mean = std::accumulate(by_rank.begin(), by_rank.end(), 0.0) / static_cast<double>(ranks);
  return std::ranges::max(by_rank) / mean;
}

// Every element once, by a rank that holds it.
void expect_valid(const WritePlan& plan, const Held& held) {
  for (const auto& tensor : plan.tensors) {
    std::int64_t next = 0;
    for (const auto& piece : tensor.pieces) {
      ASSERT_EQ(piece.first_element, next) << tensor.name;
      ASSERT_GT(piece.elements, 0) << tensor.name;
      ASSERT_TRUE(std::ranges::is_sorted(piece.holders));
      ASSERT_TRUE(std::ranges::binary_search(piece.holders, piece.writer)) << tensor.name;
      for (const int rank : piece.holders) {
        const auto& slices = held[static_cast<std::size_t>(rank)];
        std::int64_t covered = 0;
        for (const HeldSlice& own : slices) {
          if (own.name != tensor.name) continue;
          covered += std::max<std::int64_t>(
              0, std::min(own.first_element + own.elements, next + piece.elements) - std::max(own.first_element, next));
        }
        ASSERT_EQ(covered, piece.elements) << tensor.name << " rank " << rank;
      }
      next += piece.elements;
    }
    ASSERT_EQ(next, std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies{}));
  }
}

std::string refusal(const Held& held) {
  try {
    static_cast<void>(plan_writes(held));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

class WorldSize : public testing::TestWithParam<int> {};

TEST_P(WorldSize, replicas_are_written_once_and_evenly) {
  const auto ranks = static_cast<std::size_t>(GetParam());
  std::mt19937 random(7);
  std::vector<HeldSlice> model;
  for (int i = 0; i < 200; ++i) {
    const std::int64_t elements = 1 + static_cast<std::int64_t>(random() % 100'000);
    model.push_back(slice("/model/" + std::to_string(i), elements, 0, elements));
  }
  const Held held(ranks, model);
  const WritePlan plan = plan_writes(held);
  expect_valid(plan, held);
  EXPECT_LE(imbalance(plan, ranks), 1.05);
}

TEST_P(WorldSize, one_large_tensor_is_cut) {
  const auto ranks = static_cast<std::size_t>(GetParam());
  const Held held(ranks, {slice("/model/embedding", 1'000'003, 0, 1'000'003)});
  const WritePlan plan = plan_writes(held);
  expect_valid(plan, held);
  EXPECT_LE(imbalance(plan, ranks), 1.05);
  EXPECT_EQ(plan.tensors[0].pieces.size(), ranks);
}

TEST_P(WorldSize, shards_stay_where_they_are_and_replicas_even_out) {
  const auto ranks = static_cast<std::size_t>(GetParam());
  Held held(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    held[rank].push_back(slice("/model/w", 400'000, 0, 400'000));
    const Range own = even_split(90'001, static_cast<std::int64_t>(ranks), static_cast<std::int64_t>(rank));
    held[rank].push_back(slice("/optimizer/w/m", 90'001, own.first, own.size()));
  }
  const WritePlan plan = plan_writes(held);
  expect_valid(plan, held);
  EXPECT_LE(imbalance(plan, ranks), 1.05);
}

INSTANTIATE_TEST_SUITE_P(All, WorldSize, testing::Values(1, 2, 3, 4, 6, 8));

TEST(PlanWrites, ranks_with_more_of_their_own_write_less_of_what_is_shared) {
  Held held(3, {slice("/shared", 300'000, 0, 300'000)});
  held[1].push_back(slice("/own", 100'000, 0, 100'000));
  const WritePlan plan = plan_writes(held);
  expect_valid(plan, held);
  EXPECT_LE(imbalance(plan, 3), 1.05);
}

TEST(PlanWrites, random_holdings_are_valid) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const std::size_t ranks = 1 + random() % 5;
    Held held(ranks);
    for (int tensor = 0; tensor < 5; ++tensor) {
      const auto elements = static_cast<std::int64_t>(random() % 50);
      const std::string name = "/t" + std::to_string(tensor);
      const std::size_t whole = random() % ranks;  // so that nothing is missing
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        const auto cut = static_cast<std::int64_t>(random() % static_cast<unsigned>(elements + 1));
        if (rank == whole) {
          held[rank].push_back(slice(name, elements, 0, cut));
          held[rank].push_back(slice(name, elements, cut, elements - cut));
        } else {
          held[rank].push_back(slice(name, elements, cut, (elements - cut) / 2));
        }
      }
    }
    expect_valid(plan_writes(held), held);
  }
}

TEST(PlanWrites, small_tensors_are_not_cut) {
  const Held held(4, [] {
    std::vector<HeldSlice> model;
    for (int i = 0; i < 1000; ++i) model.push_back(slice("/model/" + std::to_string(i), 100, 0, 100));
    return model;
  }());
  for (const auto& tensor : plan_writes(held).tensors) EXPECT_EQ(tensor.pieces.size(), 1U) << tensor.name;
}

TEST(PlanWrites, names_are_in_bytewise_order_and_empty_tensors_have_no_pieces) {
  const WritePlan plan = plan_writes(Held{{slice("/b", 1, 0, 1), slice("/a", 0, 0, 0)}});
  ASSERT_EQ(plan.tensors.size(), 2U);
  EXPECT_EQ(plan.tensors[0].name, "/a");
  EXPECT_TRUE(plan.tensors[0].pieces.empty());
  EXPECT_THAT(plan.tensors[1].pieces[0].holders, ElementsAre(0));
}

TEST(PlanWrites, refuses_elements_that_no_rank_holds) {
  EXPECT_THAT(refusal({{slice("/model/w", 10, 0, 4)}, {slice("/model/w", 10, 6, 4)}}),
              AllOf(HasSubstr("/model/w"), HasSubstr("no rank holds its elements 4 to 5")));
}

TEST(PlanWrites, refuses_ranks_that_disagree) {
  EXPECT_THAT(refusal({{slice("/model/w", 10, 0, 10)}, {slice("/model/w", 11, 0, 11)}}),
              HasSubstr("rank 0 has float32 [10], rank 1 float32 [11]"));
}

TEST(PlanWrites, refuses_a_run_that_a_rank_gives_twice) {
  EXPECT_THAT(refusal({{slice("/model/w", 10, 0, 6), slice("/model/w", 10, 5, 5)}}),
              HasSubstr("rank 0 gives elements 5 to 5 twice"));
}

TEST(PlanWrites, refuses_what_cannot_be_stored) {
  EXPECT_THAT(refusal({{slice("model", 1, 0, 1)}}), HasSubstr("not an HDF5 path"));
  EXPECT_THAT(refusal({{slice("/a/../b", 1, 0, 1)}}), HasSubstr("not an HDF5 path"));
  EXPECT_THAT(refusal({{slice("/blobs/x", 1, 0, 1)}}), HasSubstr("those of blobs"));
  EXPECT_THAT(refusal({{slice("/a", 1, 0, 1), slice("/a/b", 1, 0, 1)}}), HasSubstr("lies below /a"));
  EXPECT_THAT(refusal({{slice("/a", 4, 2, 3)}}), HasSubstr("3 elements from 2 on, of 4"));
  EXPECT_THAT(refusal({{slice("/a", -1, 0, 0)}}), HasSubstr("its shape is [-1]"));
}

}  // namespace
}  // namespace lockstep
