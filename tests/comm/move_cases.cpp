// SPDX-License-Identifier: Apache-2.0
#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include <numeric>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Values = std::vector<std::int64_t>;

constexpr std::int64_t kUntouched = -1;

// What `from` has for `to` in every test here.
Values block(int from, int to, std::int64_t elements) {
  Values values(static_cast<std::size_t>(elements));
  std::iota(values.begin(), values.end(), 1'000'000 * (from * 10 + to));
  return values;
}

void append(Values& all, const Values& part) { all.insert(all.end(), part.begin(), part.end()); }

Buffer buffer_of(Values& values) { return {values.data(), static_cast<std::int64_t>(values.size()), DType::int64}; }

// Parts of different sizes, the first of them empty: small ones, and such as travel in pieces.
Values sizes_of_parts(int world_size, std::int64_t times) {
  Values sizes;
  for (int rank = 0; rank < world_size; ++rank) sizes.push_back(((rank * 7) % 5 * 100 + rank) * times);
  return sizes;
}
constexpr std::int64_t kTimes[] = {1, 200};

std::int64_t sum(const Values& values) { return std::accumulate(values.begin(), values.end(), std::int64_t{0}); }
std::int64_t part_of(const Values& sizes, int rank) { return sizes[static_cast<std::size_t>(rank)]; }

// Parts of all ranks for `to`, one behind the other.
Values from_all(const Values& sizes, int to) {
  Values all;
  for (std::size_t rank = 0; rank < sizes.size(); ++rank) append(all, block(static_cast<int>(rank), to, sizes[rank]));
  return all;
}

// Parts for all ranks from `from`, one behind the other.
Values for_all(const Values& sizes, int from) {
  Values all;
  for (std::size_t rank = 0; rank < sizes.size(); ++rank) append(all, block(from, static_cast<int>(rank), sizes[rank]));
  return all;
}

void gather_orders_rows_on_every_root(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const std::int64_t elements : kSizes) {
      const Values sizes(static_cast<std::size_t>(world.world_size()), elements);
      const bool receives = world.rank() == root;
      Values own = block(world.rank(), root, elements);
      Values rows(receives ? static_cast<std::size_t>(sum(sizes)) : 0, kUntouched);
      world.gather(receives ? rows.data() : nullptr, buffer_of(own), root).wait();
      if (receives) {
        EXPECT_EQ(rows, from_all(sizes, root)) << "root " << root << ", " << elements << " elements";
      }
    }
  }
}

void gather_takes_parts_of_different_sizes(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const std::int64_t times : kTimes) {
      const Values sizes = sizes_of_parts(world.world_size(), times);
      const bool receives = world.rank() == root;
      Values own = block(world.rank(), root, part_of(sizes, world.rank()));
      Values parts(receives ? static_cast<std::size_t>(sum(sizes)) : 0, kUntouched);
      world.gather(receives ? parts.data() : nullptr, buffer_of(own), sizes, root).wait();
      if (receives) {
        EXPECT_EQ(parts, from_all(sizes, root));
      }
    }
  }
}

void a_roots_own_part_may_be_in_place(Communicator& world) {
  const int root = world.world_size() - 1;
  const Values sizes(static_cast<std::size_t>(world.world_size()), 5000);
  Values own = block(world.rank(), root, 5000);
  Values rows(world.rank() == root ? static_cast<std::size_t>(sum(sizes)) : 0, kUntouched);
  std::int64_t* const place = world.rank() == root ? rows.data() + root * 5000 : own.data();
  if (world.rank() == root) std::copy(own.begin(), own.end(), place);
  world.gather(rows.data(), {place, 5000, DType::int64}, root).wait();
  if (world.rank() == root) {
    EXPECT_EQ(rows, from_all(sizes, root));
  }

  rows = for_all(sizes, root);
  Values got(5000, kUntouched);
  std::int64_t* const to = world.rank() == root ? rows.data() + root * 5000 : got.data();
  world.scatter({to, 5000, DType::int64}, rows.data(), root).wait();
  EXPECT_EQ(Values(to, to + 5000), block(root, world.rank(), 5000));
}

void scatter_gives_each_rank_its_row(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const std::int64_t elements : kSizes) {
      const Values sizes(static_cast<std::size_t>(world.world_size()), elements);
      const Values rows = world.rank() == root ? for_all(sizes, root) : Values{};
      Values own(static_cast<std::size_t>(elements), kUntouched);
      world.scatter(buffer_of(own), world.rank() == root ? rows.data() : nullptr, root).wait();
      EXPECT_EQ(own, block(root, world.rank(), elements)) << "root " << root << ", " << elements << " elements";
    }
  }
}

void scatter_takes_parts_of_different_sizes(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const std::int64_t times : kTimes) {
      const Values sizes = sizes_of_parts(world.world_size(), times);
      const Values parts = world.rank() == root ? for_all(sizes, root) : Values{};
      Values own(static_cast<std::size_t>(part_of(sizes, world.rank())), kUntouched);
      world.scatter(buffer_of(own), world.rank() == root ? parts.data() : nullptr, sizes, root).wait();
      EXPECT_EQ(own, block(root, world.rank(), part_of(sizes, world.rank())));
    }
  }
}

void all_gather_takes_parts_of_different_sizes(Communicator& world) {
  for (const std::int64_t times : kTimes) {
    const Values sizes = sizes_of_parts(world.world_size(), times);
    Values own = block(world.rank(), 0, part_of(sizes, world.rank()));
    Values parts(static_cast<std::size_t>(sum(sizes)), kUntouched);
    world.all_gather(parts.data(), buffer_of(own), sizes).wait();
    EXPECT_EQ(parts, from_all(sizes, 0));
  }
}

void all_to_all_exchanges_rows(Communicator& world) {
  for (const std::int64_t elements : kSizes) {
    const Values sizes(static_cast<std::size_t>(world.world_size()), elements);
    Values input = for_all(sizes, world.rank());
    Values output(input.size(), kUntouched);
    world.all_to_all(output.data(), buffer_of(input)).wait();
    EXPECT_EQ(output, from_all(sizes, world.rank())) << elements << " elements";
  }
}

// From every rank to every other a different number, often none.
std::int64_t size_between(int from, int to) { return (from * 3 + to * 7) % 4 * (from == 1 ? 9000 : 30); }

void all_to_all_takes_parts_of_different_sizes(Communicator& world) {
  Values sent, received;
  for (int peer = 0; peer < world.world_size(); ++peer) {
    sent.push_back(size_between(world.rank(), peer));
    received.push_back(size_between(peer, world.rank()));
  }
  const Values input = for_all(sent, world.rank());
  Values output(static_cast<std::size_t>(sum(received)), kUntouched);
  world.all_to_all(output.data(), received, input.data(), sent, DType::int64).wait();
  EXPECT_EQ(output, from_all(received, world.rank()));
}

void all_to_all_with_parts_that_disagree_is_a_mismatch(Communicator& world) {
  if (world.world_size() == 1) return;
  Communicator other = world.duplicate("other");
  Values sent(static_cast<std::size_t>(world.world_size()), 900);
  const Values received = sent;
  if (world.rank() == 0) ++sent[1];
  const Values input = for_all(sent, world.rank());
  Values output(static_cast<std::size_t>(sum(received)), kUntouched);
  const auto call = [&] {
    other.all_to_all(output.data(), received, input.data(), sent, DType::int64).wait();
    other.barrier();  // a rank whose own parts fit learns of it no later than here
  };
  EXPECT_THAT(call, ThrowsMessage<MismatchError>(HasSubstr("rank 0 sends 901 × int64 to rank 1, which expects 900")));
  if (world.rank() == 1) {
    EXPECT_EQ(sum(output), kUntouched * sum(received)) << "data was touched before the check";
  }
}

void tensors_move_as_rows(Communicator& world) {
  const int n = world.world_size();
  const at::Tensor own = at::full({2, 3}, world.rank(), at::kFloat);
  const at::Tensor ranks = at::arange(n, at::kFloat).reshape({n, 1, 1}).expand({n, 2, 3}).contiguous();
  at::Tensor rows = world.rank() == 0 ? at::zeros({n, 2, 3}) : at::Tensor();
  world.gather(rows, own, 0).wait();
  if (world.rank() == 0) {
    EXPECT_TRUE(at::equal(rows, ranks));
  }
  at::Tensor part = at::zeros({2, 3});
  world.scatter(part, rows, 0).wait();
  EXPECT_TRUE(at::equal(part, own));
  at::Tensor exchanged = at::zeros({n, 2, 3});
  world.all_to_all(exchanged, own.unsqueeze(0).expand({n, 2, 3}).contiguous()).wait();
  EXPECT_TRUE(at::equal(exchanged, ranks));
}

void arguments_without_meaning_are_refused(Communicator& world) {
  const int n = world.world_size();
  Values values(8 * static_cast<std::size_t>(n));
  const Buffer buffer{values.data(), 2, DType::int64};
  Values sizes(static_cast<std::size_t>(n), 2);
  const auto refused = [](auto call) { EXPECT_THROW({ const Work work = call(); }, UsageError); };
  for (const int root : {-1, n}) {
    refused([&] { return world.reduce(buffer, values.data() + 4, root); });
    refused([&] { return world.gather(values.data() + 4, buffer, root); });
    refused([&] { return world.scatter(buffer, values.data() + 4, root); });
    refused([&] { return world.gather(values.data() + 4, buffer, sizes, root); });
    refused([&] { return world.send(buffer, root); });
    refused([&] { return world.receive(buffer, root); });
  }
  sizes[static_cast<std::size_t>(world.rank())] = 3;
  refused([&] { return world.all_gather(values.data() + 4, buffer, sizes); });
  sizes[static_cast<std::size_t>(world.rank())] = -2;
  refused([&] { return world.all_to_all(values.data() + 4, sizes, values.data(), sizes, DType::int64); });
  sizes.assign(static_cast<std::size_t>(n) + 1, 2);
  refused([&] { return world.reduce_scatter(buffer, values.data() + 4, sizes); });
  world.barrier();  // nothing was sent: the communicator is as good as before
}

}  // namespace

std::vector<CollectiveCase> move_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(gather_orders_rows_on_every_root),
      CASE(gather_takes_parts_of_different_sizes),
      CASE(a_roots_own_part_may_be_in_place),
      CASE(scatter_gives_each_rank_its_row),
      CASE(scatter_takes_parts_of_different_sizes),
      CASE(all_gather_takes_parts_of_different_sizes),
      CASE(all_to_all_exchanges_rows),
      CASE(all_to_all_takes_parts_of_different_sizes),
      CASE(all_to_all_with_parts_that_disagree_is_a_mismatch),
      CASE(tensors_move_as_rows),
      CASE(arguments_without_meaning_are_refused),
  };
#undef CASE
}

}  // namespace lockstep::testing
