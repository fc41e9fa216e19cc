// SPDX-License-Identifier: Apache-2.0
#include "gpu/transport.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <string_view>

#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using comm::gpu::choose;
using comm::gpu::TransportFacts;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int kOld = 22809;  // NCCL that knows NCCL_HOSTID
constexpr int kNew = comm::gpu::kVersionWithSharedGpus;

TransportFacts rank_on(std::string_view uuid, int version, std::string_view host = {}, bool shares = false) {
  TransportFacts facts{.nccl_version = version, .kernels = 1, .shares = shares ? std::int8_t{1} : std::int8_t{0}};
  std::copy(uuid.begin(), uuid.end(), facts.uuid.begin());
  std::copy(host.begin(), host.end(), facts.host.begin());
  return facts;
}

std::string why_staged(const std::vector<TransportFacts>& facts) {
  const GpuTransportChoice choice = choose(facts);
  EXPECT_EQ(choice.transport == GpuTransport::nccl, choice.why.empty()) << choice.why;
  return choice.why;
}

TEST(TransportChoice, is_nccl_where_each_rank_has_a_gpu) {
  EXPECT_EQ(why_staged({rank_on("GPU-a", kOld)}), "");
  EXPECT_EQ(why_staged({rank_on("GPU-a", kOld), rank_on("GPU-b", kOld), rank_on("GPU-c", kOld)}), "");
  EXPECT_EQ(why_staged({rank_on("MIG-a", kNew), rank_on("MIG-b", kNew)}), "");
}

TEST(TransportChoice, names_the_first_rank_without_nccl) {
  EXPECT_EQ(why_staged({rank_on("GPU-a", kOld), rank_on("GPU-b", 0), rank_on("GPU-c", 0)}), "rank 1 has no NCCL");
}

TEST(TransportChoice, names_the_first_rank_without_kernels) {
  std::vector<TransportFacts> facts{rank_on("GPU-a", kOld), rank_on("GPU-b", kOld), rank_on("GPU-c", 0)};
  facts[1].kernels = 0;
  EXPECT_EQ(why_staged(facts), "rank 1 has no lockstep kernels for its GPU, which sums over NCCL need");
}

TEST(TransportChoice, before_2_30_takes_ranks_on_one_gpu_with_different_host_ids) {
  const std::string refused =
      "ranks 0 and 2 share the GPU GPU-a: NCCL 2.28.9 takes several ranks on one only with a different NCCL_HOSTID for "
      "each";
  const auto why = [](std::string_view first, std::string_view second, bool shares = false) {
    return why_staged(
        {rank_on("GPU-a", kOld, first, shares), rank_on("GPU-b", kOld), rank_on("GPU-a", kOld, second, shares)});
  };
  EXPECT_EQ(why("x", "y"), "");
  EXPECT_EQ(why("", ""), refused);
  EXPECT_EQ(why("x", "x"), refused);
  EXPECT_EQ(why("", "y"), refused);
  EXPECT_EQ(why("x", ""), refused);
  EXPECT_EQ(why("", "", true), refused);  // a variable that this version does not know
}

TEST(TransportChoice, from_2_30_on_takes_ranks_on_one_gpu_where_both_say_so) {
  const std::string refused =
      "ranks 0 and 1 share the GPU GPU-a: NCCL 2.30.0 takes several ranks on one only with "
      "NCCL_MULTI_RANK_GPU_ENABLE=1";
  const auto why = [](bool first, bool second) {
    return why_staged({rank_on("GPU-a", kNew, "x", first), rank_on("GPU-a", kNew, "y", second)});
  };
  EXPECT_EQ(why(true, true), "");
  EXPECT_EQ(why(true, false), refused);
  EXPECT_EQ(why(false, true), refused);
  EXPECT_EQ(why(false, false), refused);
}

TEST(GpuOfLocalRank, is_its_own_number_modulo_those_that_it_sees) {
  EXPECT_EQ(gpu_of_local_rank(0, 4), 0);
  EXPECT_EQ(gpu_of_local_rank(3, 4), 3);
  EXPECT_EQ(gpu_of_local_rank(3, 1), 0);  // the launcher shows each rank its own
  EXPECT_EQ(gpu_of_local_rank(5, 4), 1);
}

TEST(GpuOfLocalRank, says_what_to_do_without_one) {
  EXPECT_THAT([] { (void)gpu_of_local_rank(2, 0); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("a GPU for local rank 2"), HasSubstr("no GPU is visible"),
                                              HasSubstr("CUDA_VISIBLE_DEVICES"))));
}

}  // namespace
}  // namespace lockstep::testing
