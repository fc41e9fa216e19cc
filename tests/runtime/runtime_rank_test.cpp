// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <tuple>

#include "lockstep/runtime/runtime.hpp"
#include "runtime/cases.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

class RankRuntime : public ::testing::TestWithParam<std::tuple<RuntimeCase, std::string>> {};

TEST_P(RankRuntime, holds) {
  at::set_num_threads(1);
  std::get<0>(GetParam()).check(world(std::get<1>(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Cases, RankRuntime,
                         ::testing::Combine(::testing::ValuesIn(runtime_cases()), ::testing::ValuesIn(backends())),
                         [](const auto& instance) {
                           return std::get<0>(instance.param).name + "_on_" + std::get<1>(instance.param);
                         });

}  // namespace
}  // namespace lockstep::testing
