// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks over shm, with threads as ranks.
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>

#include "comm/thread_ranks.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::int64_t kMessageSizes[] = {0, 1, 6, 7, 1000, 2048, 2049, 70'001, 300'000};  // around every switch

std::vector<float> message(int from, std::int64_t elements) {
  std::vector<float> values(static_cast<std::size_t>(elements));
  std::iota(values.begin(), values.end(), static_cast<float>(1000 * from));
  return values;
}

Buffer whole(std::vector<float>& values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::float32};
}

TEST(ShmMessages, arrive_from_ordinary_and_from_own_memory) {
  on_shm_threads(3, [](Communicator& world) {
    const int next = (world.rank() + 1) % 3;
    const int before = (world.rank() + 2) % 3;
    const auto own = world.allocate(300'000 * sizeof(float));
    for (const std::int64_t elements : kMessageSizes) {
      for (const bool in_arena : {false, true}) {
        std::vector<float> values = message(world.rank(), elements);
        std::copy(values.begin(), values.end(), reinterpret_cast<float*>(own.get()));
        Work sent = world.send(in_arena ? Buffer{own.get(), elements, DType::float32} : whole(values), next);
        std::vector<float> received(values.size());
        world.receive(whole(received), before).wait();
        sent.wait();
        ASSERT_EQ(received, message(before, elements)) << elements << " elements, in the arena: " << in_arena;
      }
    }
  });
}

TEST(ShmMessages, small_ones_are_kept_until_they_are_received) {
  on_shm_threads(2, [](Communicator& world) {
    for (const std::int64_t elements : {5, 2000}) {
      std::vector<float> values = message(world.rank(), elements);
      std::vector<float> received(values.size());
      world.send(whole(values), 1 - world.rank()).wait();
      world.receive(whole(received), 1 - world.rank()).wait();
      EXPECT_EQ(received, message(1 - world.rank(), elements));
    }
  });
}

TEST(ShmMessages, to_oneself_arrive) {
  on_shm_threads(2, [](Communicator& world) {
    for (const std::int64_t elements : kMessageSizes) {
      std::vector<float> values = message(world.rank(), elements);
      std::vector<float> received(values.size());
      Work receives = world.receive(whole(received), world.rank());
      world.send(whole(values), world.rank()).wait();
      receives.wait();
      ASSERT_EQ(received, values);
    }
  });
}

// More than there are letters, sizes of all classes mixed; waited for in the opposite order.
TEST(ShmMessages, many_in_flight_meet_in_the_order_of_their_calls) {
  on_shm_threads(2, [](Communicator& world) {
    constexpr int kMessages = 40;
    std::vector<std::vector<float>> values;
    std::vector<Work> works;
    for (int i = 0; i < kMessages; ++i) {
      const std::int64_t elements = kMessageSizes[static_cast<std::size_t>(i) % std::size(kMessageSizes)];
      values.push_back(world.rank() == 0 ? message(i, elements)
                                         : std::vector<float>(static_cast<std::size_t>(elements)));
    }
    for (auto& each : values) {
      works.push_back(world.rank() == 0 ? world.send(whole(each), 1) : world.receive(whole(each), 0));
    }
    while (!works.empty()) works.back().wait(), works.pop_back();
    for (int i = 0; i < kMessages; ++i) {
      const auto& each = values[static_cast<std::size_t>(i)];
      ASSERT_EQ(each, message(i, static_cast<std::int64_t>(each.size()))) << "message " << i;
    }
  });
}

TEST(ShmMessages, do_not_wait_for_ranks_that_take_no_part) {
  on_shm_threads(3, [](Communicator& world) {
    std::vector<float> values = message(0, 70'001);
    if (world.rank() == 0) world.send(whole(values), 1).wait();
    if (world.rank() == 1) {
      std::vector<float> received(values.size());
      world.receive(whole(received), 0).wait();
      EXPECT_EQ(received, values);
    }
    world.barrier();
  });
}

TEST(ShmMessages, of_different_sizes_are_a_mismatch_that_names_both_calls) {
  for (const std::int64_t elements : {4, 70'001}) {
    on_shm_threads(2, [elements](Communicator& world) {
      std::vector<float> values(static_cast<std::size_t>(elements + world.rank()), 7.0F);
      const auto call = [&] {
        (world.rank() == 0 ? world.send(whole(values), 1) : world.receive(whole(values), 0)).wait();
        world.barrier();  // a small message is kept: its sender learns of the mismatch later
      };
      EXPECT_THAT(call,
                  ThrowsMessage<MismatchError>(AllOf(
                      HasSubstr("rank 0: send #0 (" + std::to_string(elements) + " × float32, to rank 1)"),
                      HasSubstr("rank 1: receive #0 (" + std::to_string(elements + 1) + " × float32, from rank 0)"))));
      EXPECT_EQ(std::count(values.begin(), values.end(), 7.0F), elements + world.rank()) << "data was touched";
    });
  }
}

TEST(ShmMessages, of_different_dtypes_are_a_mismatch) {
  on_shm_threads(2, [](Communicator& world) {
    std::vector<float> values(70'001);
    const DType dtype = world.rank() == 0 ? DType::float32 : DType::int32;
    const Buffer buffer{values.data(), 70'001, dtype};
    EXPECT_THAT([&] { (world.rank() == 0 ? world.send(buffer, 1) : world.receive(buffer, 0)).wait(); },
                ThrowsMessage<MismatchError>(AllOf(HasSubstr("70001 × float32"), HasSubstr("70001 × int32"))));
  });
}

TEST(ShmMessages, without_the_other_rank_time_out_by_its_name) {
  on_shm_threads(3, [](Communicator& world) {
    if (world.rank() == 1) return;
    std::vector<float> values(70'001);
    const CollectiveOptions soon{.timeout = std::chrono::milliseconds(50)};
    if (world.rank() == 0) {
      EXPECT_THAT([&] { world.send(whole(values), 1, soon).wait(); },
                  ThrowsMessage<TimeoutError>(HasSubstr("waiting for rank 1 (")));
    } else {
      EXPECT_THAT([&] { world.receive(whole(values), 1, soon).wait(); },
                  ThrowsMessage<TimeoutError>(HasSubstr("waiting for rank 1 (")));
    }
  });
}

// A second message whose turn comes while the first one waits for room in the ring.
TEST(ShmMessages, share_a_ring_in_their_order_whichever_is_advanced_first) {
  on_shm_threads(1, [](Communicator& world) {
    comm::Backend& backend = world.backend();
    std::vector<std::vector<float>> values{message(1, 200'000), message(2, 40'000)};
    std::vector<std::vector<float>> received{std::vector<float>(200'000), std::vector<float>(40'000)};
    std::vector<comm::OperationPtr> sends, receives;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto elements = static_cast<std::int64_t>(values[i].size());
      sends.push_back(
          backend.start({.call = {.kind = comm::Kind::send, .dtype = DType::float32, .root = 0, .elements = elements},
                         .input = reinterpret_cast<const std::byte*>(values[i].data())}));
      receives.push_back(backend.start(
          {.call = {.kind = comm::Kind::receive, .dtype = DType::float32, .root = 0, .elements = elements},
           .output = reinterpret_cast<std::byte*>(received[i].data())}));
    }
    const auto advance = [](comm::OperationPtr& operation) {
      if (operation && operation->advance(std::chrono::steady_clock::time_point::max()) == comm::Advanced::fully)
        operation.reset();
    };
    for (int turn = 0; turn < 100; ++turn) {
      for (comm::OperationPtr* operation : {&receives[0], &sends[1], &sends[0], &receives[1]}) advance(*operation);
    }
    EXPECT_EQ(received, values);
  });
}

// Messages of random pairs, sizes and memory between collectives, ranks drifting apart.
TEST(ShmMessages, stay_correct_among_collectives) {
  on_shm_threads(4, [](Communicator& world) {
    std::mt19937 random(11);  // the same on every rank
    const auto own = world.allocate(20'000 * sizeof(std::int64_t));
    std::vector<std::int64_t> ordinary(20'000);
    for (int i = 0; i < 1500; ++i) {
      const int from = static_cast<int>(random() % 4);
      const int to = static_cast<int>(random() % 4);
      const auto elements = static_cast<std::int64_t>(1 + random() % (i % 8 == 0 ? 20'000 : 300));
      auto* const values = random() % 2 == 0 ? reinterpret_cast<std::int64_t*>(own.get()) : ordinary.data();
      if (i % 5 == 0) {
        std::int64_t sum = world.rank();
        world.all_reduce({&sum, 1, DType::int64}).wait();
        ASSERT_EQ(sum, 6);
      }
      if (from == to) continue;
      if (world.rank() == from) {
        std::iota(values, values + elements, i);
        world.send({values, elements, DType::int64}, to).wait();
      } else if (world.rank() == to) {
        world.receive({values, elements, DType::int64}, from).wait();
        for (const std::int64_t e : {std::int64_t{0}, elements / 2, elements - 1}) ASSERT_EQ(values[e], i + e);
      }
    }
  });
}

}  // namespace
}  // namespace lockstep::testing
