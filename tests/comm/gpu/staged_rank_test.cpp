// SPDX-License-Identifier: Apache-2.0
// Calls of memory on fake GPUs through the host's backends between processes.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "comm/matrix.hpp"
#include "gpu/device.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/gpu.hpp"
#include "support/fake_gpu/fake_gpu.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

class RankStaged : public ::testing::TestWithParam<std::string> {
 protected:
  template <class Body>
  void on_gpus(const Body& body) {
    test::FakeGpus gpus(1);  // this process's
    gpus.run_default_streams_on_caller();
    const Gpu gpu(std::make_shared<comm::gpu::Device>(gpus.libraries(0), 0));
    Communicator staged = gpu_communicator(world(GetParam()), gpu, "gpus", GpuTransport::staged);
    body(staged);
    staged.close();
  }
  [[nodiscard]] static unsigned seed() { return static_cast<unsigned>(world().world_size()) + 100; }
};

TEST_P(RankStaged, reductions_give_the_bits_of_the_oracle) {
  on_gpus([](Communicator& staged) { check_cells(staged, every_pair_of_factors(all_reductions(), seed())); });
}

TEST_P(RankStaged, moves_give_the_bits_of_their_source) {
  on_gpus([](Communicator& staged) { check_cells(staged, every_pair_of_factors(all_moves(), seed())); });
}

TEST_P(RankStaged, several_pieces_of_calls_in_flight_meet_their_peers) {
  on_gpus([](Communicator& staged) {
    constexpr std::int64_t kElements = (9 << 20) / sizeof(std::int64_t);  // three pieces
    std::vector<std::int64_t> first(kElements, 1), second(kElements, staged.rank());
    Work reduced = staged.all_reduce({first.data(), kElements, DType::int64});
    Work sent = staged.broadcast({second.data(), kElements, DType::int64}, staged.world_size() - 1);
    sent.wait();
    reduced.wait();
    EXPECT_EQ(first, std::vector<std::int64_t>(kElements, staged.world_size()));
    EXPECT_EQ(second, std::vector<std::int64_t>(kElements, staged.world_size() - 1));
  });
}

TEST_P(RankStaged, a_call_of_another_thread_moves_on_where_the_host_may_be_called) {
  on_gpus([&](Communicator& staged) {
    std::vector<float> values(5000, 1.0F);
    std::vector<Work> works;
    std::thread([&] {
      works.push_back(staged.all_reduce({values.data(), 5000, DType::float32}));
      if (!world(GetParam()).backend().any_thread()) {
        EXPECT_FALSE(works.back().done());
      }
    }).join();
    works.back().wait();
    EXPECT_EQ(values, std::vector<float>(5000, static_cast<float>(staged.world_size())));
  });
}

INSTANTIATE_TEST_SUITE_P(Processes, RankStaged, ::testing::ValuesIn(backends()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace lockstep::testing
