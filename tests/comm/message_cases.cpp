// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <numeric>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Values = std::vector<float>;

// The `number`-th message from one rank to another.
Values message(int from, int to, int number, std::int64_t elements) {
  Values values(static_cast<std::size_t>(elements));
  std::iota(values.begin(), values.end(), static_cast<float>(100'000 * (from + 5 * to + 25 * number)));
  return values;
}

Buffer buffer_of(Values& values) { return {values.data(), static_cast<std::int64_t>(values.size()), DType::float32}; }

void messages_go_round_a_ring_in_either_order_of_calls(Communicator& world) {
  const int n = world.world_size();
  const int next = (world.rank() + 1) % n;
  const int previous = (world.rank() + n - 1) % n;
  int number = 0;
  for (const bool send_first : {true, false}) {
    for (const std::int64_t elements : kSizes) {
      Values sent = message(world.rank(), next, number, elements);
      Values received(sent.size(), -1);
      std::vector<Work> works;
      if (send_first) works.push_back(world.send(buffer_of(sent), next));
      works.push_back(world.receive(buffer_of(received), previous));
      if (!send_first) works.push_back(world.send(buffer_of(sent), next));
      wait_all(works);
      EXPECT_EQ(received, message(previous, world.rank(), number, elements)) << elements << " elements";
      ++number;
    }
  }
}

// Each rank to each, itself included, several messages of small and large size; receives are posted in another order
// than sends.
void messages_between_all_pairs_may_be_in_flight_together(Communicator& world) {
  const int n = world.world_size();
  const auto elements_of = [](int number) { return number % 2 == 0 ? 20'000 : 3; };
  constexpr int kEach = 4;
  std::vector<Values> sent, received;
  for (int peer = 0; peer < n; ++peer) {
    for (int number = 0; number < kEach; ++number) {
      sent.push_back(message(world.rank(), peer, number, elements_of(number)));
      received.emplace_back(sent.back().size(), -1);
    }
  }
  std::vector<Work> works;
  for (int peer = 0; peer < n; ++peer) {
    for (int number = 0; number < kEach; ++number) {
      works.push_back(world.send(buffer_of(sent[static_cast<std::size_t>(peer * kEach + number)]), peer));
      const int from = n - 1 - peer;
      works.push_back(world.receive(buffer_of(received[static_cast<std::size_t>(from * kEach + number)]), from));
    }
  }
  wait_all(works);
  for (int peer = 0; peer < n; ++peer) {
    for (int number = 0; number < kEach; ++number) {
      EXPECT_EQ(received[static_cast<std::size_t>(peer * kEach + number)],
                message(peer, world.rank(), number, elements_of(number)))
          << "message " << number << " from rank " << peer;
    }
  }
}

void messages_of_a_pair_may_be_waited_for_in_reverse(Communicator& world) {
  if (world.rank() > 1) return;
  const int peer = world.world_size() == 1 ? 0 : 1 - world.rank();
  std::vector<Values> sent, received;
  for (const std::int64_t elements : kSizes) {
    sent.push_back(message(world.rank(), peer, 0, elements));
    received.emplace_back(sent.back().size(), -1);
  }
  std::vector<Work> works;
  for (std::size_t i = 0; i < sent.size(); ++i) works.push_back(world.receive(buffer_of(received[i]), peer));
  for (Values& each : sent) works.push_back(world.send(buffer_of(each), peer));
  while (!works.empty()) {
    works.back().wait();
    works.pop_back();
  }
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(received[i], message(peer, world.rank(), 0, kSizes[i]));
}

void a_small_message_is_kept_for_its_receiver(Communicator& world) {
  const int n = world.world_size();
  const int next = (world.rank() + 1) % n;
  const int previous = (world.rank() + n - 1) % n;
  Values value = message(world.rank(), next, 0, 12);
  world.send(buffer_of(value), next).wait();
  std::fill(value.begin(), value.end(), -1.0F);  // what was sent is ours again
  world.barrier();
  world.receive(buffer_of(value), previous).wait();
  EXPECT_EQ(value, message(previous, world.rank(), 0, 12));
}

void collectives_do_not_disturb_messages(Communicator& world) {
  const int n = world.world_size();
  Values sent = message(world.rank(), 0, 0, 5000);
  Values received(5000, -1);
  std::int64_t ranks = 1;
  const int to = (world.rank() + 1) % n;
  Work receive = world.receive(buffer_of(received), (world.rank() + n - 1) % n);
  world.all_reduce({&ranks, 1, DType::int64}).wait();
  Work send = world.send(buffer_of(sent), to);
  world.barrier();
  send.wait();
  receive.wait();
  EXPECT_EQ(ranks, n);
  EXPECT_EQ(received, message((world.rank() + n - 1) % n, 0, 0, 5000));
}

// Rank 0 sends and rank 1 receives something else. Both must name both calls, and ranks that wait learn of it.
void expect_mismatch(Communicator& world, Buffer sent, Buffer received, const std::string& send,
                     const std::string& receive) {
  if (world.world_size() == 1) return;
  Communicator other = world.duplicate("other");
  const auto call = [&] {
    if (world.rank() == 0) other.send(sent, 1).wait();
    if (world.rank() == 1) other.receive(received, 0).wait();
    other.barrier();  // the sender of a small message is done before the receiver has seen it
  };
  EXPECT_THAT(call, ThrowsMessage<MismatchError>(AllOf(HasSubstr("rank 0: send #0 (" + send + ", to rank 1)"),
                                                       HasSubstr("rank 1: receive #0 (" + receive + ", from rank 0)"),
                                                       HasSubstr("Fix: a receive must have"))));
}

void a_receive_of_another_size_than_its_send_is_a_mismatch(Communicator& world) {
  Values sent(5000, 1), received(4999, -1);
  expect_mismatch(world, buffer_of(sent), buffer_of(received), "5000 × float32", "4999 × float32");
  EXPECT_EQ(received, Values(4999, -1)) << "data was touched before the check";
}

void a_small_receive_of_a_large_send_is_a_mismatch(Communicator& world) {
  Values sent(5000, 1), received(4, -1);
  expect_mismatch(world, buffer_of(sent), buffer_of(received), "5000 × float32", "4 × float32");
  EXPECT_EQ(received, Values(4, -1)) << "data was touched before the check";
}

void a_large_receive_of_a_small_send_is_a_mismatch(Communicator& world) {
  Values sent(4, 1), received(5000, -1);
  expect_mismatch(world, buffer_of(sent), buffer_of(received), "4 × float32", "5000 × float32");
}

void a_receive_of_another_dtype_than_its_send_is_a_mismatch(Communicator& world) {
  Values sent(4, 1), received(4, -1);
  const Buffer as_integers{received.data(), 4, DType::int32};
  expect_mismatch(world, buffer_of(sent), as_integers, "4 × float32", "4 × int32");
}

}  // namespace

std::vector<CollectiveCase> message_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(messages_go_round_a_ring_in_either_order_of_calls),
      CASE(messages_between_all_pairs_may_be_in_flight_together),
      CASE(messages_of_a_pair_may_be_waited_for_in_reverse),
      CASE(a_small_message_is_kept_for_its_receiver),
      CASE(collectives_do_not_disturb_messages),
      CASE(a_receive_of_another_size_than_its_send_is_a_mismatch),
      CASE(a_small_receive_of_a_large_send_is_a_mismatch),
      CASE(a_large_receive_of_a_small_send_is_a_mismatch),
      CASE(a_receive_of_another_dtype_than_its_send_is_a_mismatch),
  };
#undef CASE
}

}  // namespace lockstep::testing
