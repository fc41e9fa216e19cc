// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <gtest/gtest.h>

#include <string>

#include "lockstep/comm/gpu.hpp"

namespace lockstep::testing {

// Collective, once. In one line, why a rank has no GPU to test on; empty: every rank has one. Where ranks share a GPU,
// their NCCL has been told how.
[[nodiscard]] const std::string& why_no_gpus();

// Local, after why_no_gpus() was empty. This rank's GPU.
[[nodiscard]] Gpu& rank_gpu();
[[nodiscard]] c10::Device rank_device();

// Skipped on all ranks, with the reason, where one has no GPU.
class GpuRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!why_no_gpus().empty()) GTEST_SKIP() << why_no_gpus();
  }
};

}  // namespace lockstep::testing
