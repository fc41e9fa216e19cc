// SPDX-License-Identifier: Apache-2.0
#include "bucket_plan.hpp"

#include <gmock/gmock.h>

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;

constexpr std::int64_t kDefaultBytes = 25 << 20;

// The parameters of each bucket.
std::vector<std::vector<int>> members(const std::vector<ParameterShape>& parameters, std::int64_t bucket_bytes) {
  std::vector<std::vector<int>> found;
  for (const BucketLayout& bucket : plan_buckets(parameters, bucket_bytes)) found.push_back(bucket.parameters);
  return found;
}

// Backward reaches the last parameter first.
TEST(BucketPlan, goes_through_parameters_from_the_last_to_the_first) {
  EXPECT_THAT(members({{10}, {20}, {30}}, kDefaultBytes), ElementsAre(ElementsAre(2, 1, 0)));
}

TEST(BucketPlan, closes_a_bucket_that_has_reached_its_size) {
  EXPECT_THAT(members({{100}, {100}, {100}, {100}, {100}}, 800),
              ElementsAre(ElementsAre(4, 3), ElementsAre(2, 1), ElementsAre(0)));
}

TEST(BucketPlan, closes_the_first_bucket_at_1_MiB) {
  const std::int64_t quarter = (1 << 20) / 4 / 4;  // a quarter of a MiB in float32
  EXPECT_THAT(members(std::vector<ParameterShape>(10, {quarter}), kDefaultBytes),
              ElementsAre(ElementsAre(9, 8, 7, 6), ElementsAre(5, 4, 3, 2, 1, 0)));
}

TEST(BucketPlan, gives_every_parameter_its_own_bucket_at_1_byte) {
  EXPECT_THAT(members({{5}, {1}, {7}}, 1), ElementsAre(ElementsAre(2), ElementsAre(1), ElementsAre(0)));
}

TEST(BucketPlan, begins_a_bucket_where_the_dtype_changes) {
  const auto buckets =
      plan_buckets(std::vector<ParameterShape>{{4}, {4, DType::float64}, {4, DType::float64}, {4}}, kDefaultBytes);
  ASSERT_EQ(buckets.size(), 3U);
  EXPECT_THAT(buckets[1].parameters, ElementsAre(2, 1));
  EXPECT_EQ(buckets[0].dtype, DType::float32);
  EXPECT_EQ(buckets[1].dtype, DType::float64);
  EXPECT_EQ(buckets[2].dtype, DType::float32);
}

// Kernels may take another path, with other bits, where data is not aligned.
TEST(BucketPlan, puts_every_gradient_at_a_boundary_of_64_bytes) {
  const auto floats = plan_buckets(std::vector<ParameterShape>{{1}, {16}, {17}}, kDefaultBytes);
  EXPECT_THAT(floats[0].offsets, ElementsAre(0, 32, 48));
  EXPECT_EQ(floats[0].elements, 64);
  const auto doubles = plan_buckets(
      std::vector<ParameterShape>{{3, DType::float64}, {8, DType::float64}, {9, DType::float64}}, kDefaultBytes);
  EXPECT_THAT(doubles[0].offsets, ElementsAre(0, 16, 24));
  EXPECT_EQ(doubles[0].elements, 32);
}

TEST(BucketPlan, has_no_bucket_without_a_parameter) { EXPECT_TRUE(plan_buckets({}, kDefaultBytes).empty()); }

}  // namespace
}  // namespace lockstep::testing
