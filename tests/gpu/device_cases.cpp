// SPDX-License-Identifier: Apache-2.0
#include "gpu/device_cases.hpp"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep::testing {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 7, 113, 70'001};
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kInt, at::kLong, at::kByte};

at::Tensor random_on_host(std::vector<std::int64_t> shape, at::ScalarType type, std::int64_t seed) {
  at::manual_seed(static_cast<std::uint64_t>(seed));
  if (at::isFloatingType(type)) return at::randn(shape, at::kFloat).to(type);
  return at::randint(0, 5, shape, at::TensorOptions().dtype(type));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.cpu().contiguous(), y = b.cpu().contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         (x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0);
}

// What a call leaves on this rank, given its input.
using Called = std::function<at::Tensor(Communicator& ranks, at::Tensor input)>;

void expect_same(Communicator& gpu, Communicator& host, c10::Device device, const at::Tensor& input,
                 const Called& called, const std::string& what) {
  const at::Tensor expected = called(host, input.clone());
  const at::Tensor actual = called(gpu, input.clone().to(device));
  EXPECT_TRUE(same_bits(actual, expected))
      << what << " of " << input.numel() << " × " << c10::toString(input.scalar_type());
}

std::vector<ReduceOp> ops_of(at::ScalarType type) {
  std::vector<ReduceOp> ops{ReduceOp::sum, ReduceOp::min, ReduceOp::max, ReduceOp::prod};
  if (at::isFloatingType(type)) ops.push_back(ReduceOp::avg);
  if (!at::isFloatingType(type)) ops.push_back(ReduceOp::bit_xor);
  return ops;
}

void check_reductions_of(Communicator& gpu, Communicator& host, c10::Device device, at::ScalarType type, ReduceOp op) {
  const std::int64_t ranks = gpu.world_size();
  for (const std::int64_t elements : kSizes) {
    const CollectiveOptions options{.scale = at::isFloatingType(type) ? 1.0 / 3 : 1.0};
    const at::Tensor one = random_on_host({elements}, type, gpu.rank() + elements);
    const at::Tensor rows = random_on_host({ranks, elements}, type, gpu.rank() + elements);
    const std::string name(name_of(op));
    expect_same(
        gpu, host, device, one,
        [&](Communicator& all, at::Tensor tensor) {
          all.all_reduce(tensor, op, options).wait();
          return tensor;
        },
        "all_reduce " + name);
    expect_same(
        gpu, host, device, rows,
        [&](Communicator& all, const at::Tensor& input) {
          at::Tensor output = at::empty({elements}, input.options());
          all.reduce_scatter(output, input, op, options).wait();
          return output;
        },
        "reduce_scatter " + name);
    expect_same(
        gpu, host, device, one,
        [&](Communicator& all, at::Tensor tensor) {
          all.reduce(tensor, all.world_size() - 1, op, options).wait();
          return tensor;
        },
        "reduce " + name);
  }
}

}  // namespace

void check_reductions(Communicator& gpu, Communicator& host, c10::Device device) {
  for (const at::ScalarType type : kTypes) {
    for (const ReduceOp op : ops_of(type)) check_reductions_of(gpu, host, device, type, op);
  }
}

void check_any_order(Communicator& gpu, Communicator& host, c10::Device device) {
  for (const std::int64_t elements : kSizes) {
    const at::Tensor input = random_on_host({elements}, at::kFloat, gpu.rank());
    at::Tensor expected = input.clone(), actual = input.to(device);
    host.all_reduce(expected).wait();
    gpu.all_reduce(actual, ReduceOp::sum, {.order = ReduceOrder::any}).wait();
    EXPECT_TRUE(at::allclose(actual.cpu(), expected, 1e-5, 1e-5)) << elements;
  }
}

void check_fixed_leaves_on_device(Communicator& gpu, Communicator& host, c10::Device device) {
  constexpr std::int64_t kLeaves = 12, kElements = 1237;
  const auto sum = [&](Communicator& ranks, c10::Device where) {
    std::vector<at::Tensor> sums;
    std::vector<Partial> partials;
    for (const Range& node : subtrees_in(even_split(kLeaves, ranks.world_size(), ranks.rank()), kLeaves)) {
      sums.push_back(random_on_host({kElements}, at::kFloat, node.first).to(where));
      partials.push_back({.first_leaf = node.first, .leaves = node.size()});
      partials.back().data = static_cast<std::byte*>(sums.back().data_ptr());
    }
    at::Tensor result = at::empty({kElements}, at::TensorOptions().dtype(at::kFloat).device(where));
    ranks.reduce_partials({result.data_ptr(), kElements, DType::float32}, {partials, kLeaves, 1.0 / kLeaves}).wait();
    return result.cpu();
  };
  EXPECT_TRUE(same_bits(sum(gpu, device), sum(host, at::kCPU)));
}

namespace {

// [world_size, elements] on every rank, zero where a call leaves nothing.
const std::vector<std::pair<std::string, Called>>& moves() {
  static const std::vector<std::pair<std::string, Called>> all{
      {"broadcast",
       [](Communicator& ranks, at::Tensor rows) {
         ranks.broadcast(rows, ranks.world_size() - 1).wait();
         return rows;
       }},
      {"all_gather",
       [](Communicator& ranks, const at::Tensor& rows) {
         at::Tensor output = at::zeros_like(rows);
         ranks.all_gather(output, rows[0].contiguous()).wait();
         return output;
       }},
      {"gather",
       [](Communicator& ranks, const at::Tensor& rows) {
         at::Tensor output = at::zeros_like(rows);
         ranks.gather(output, rows[0].contiguous(), 0).wait();
         return output;
       }},
      {"scatter",
       [](Communicator& ranks, const at::Tensor& rows) {
         at::Tensor output = at::zeros_like(rows[0]);
         ranks.scatter(output, rows, 0).wait();
         return output;
       }},
      {"all_to_all",
       [](Communicator& ranks, const at::Tensor& rows) {
         at::Tensor output = at::zeros_like(rows);
         ranks.all_to_all(output, rows).wait();
         return output;
       }},
      {"send and receive", [](Communicator& ranks, const at::Tensor& rows) {  // around a ring
         at::Tensor output = at::zeros_like(rows);
         const int size = ranks.world_size(), rank = ranks.rank();
         if (size == 1) return output;
         std::vector<Work> works;
         works.push_back(ranks.send(rows, (rank + 1) % size));
         works.push_back(ranks.receive(output, (rank + size - 1) % size));
         wait_all(works);
         return output;
       }}};
  return all;
}

}  // namespace

void check_moves(Communicator& gpu, Communicator& host, c10::Device device) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kLong, at::kBool}) {
    for (const std::int64_t elements : kSizes) {
      const at::Tensor rows = random_on_host({gpu.world_size(), elements}, at::kInt, gpu.rank()).to(type);
      for (const auto& [name, called] : moves()) expect_same(gpu, host, device, rows, called, name);
    }
  }
}

void check_splits_of_device(Communicator& gpu, c10::Device device) {
  std::optional<Communicator> reversed = gpu.split(0, -gpu.rank(), "reversed");
  std::optional<Communicator> alone = gpu.split(gpu.rank(), 0, "alone");
  ASSERT_TRUE(reversed && alone);
  EXPECT_EQ(reversed->rank(), gpu.world_size() - 1 - gpu.rank());
  const auto options = at::TensorOptions().dtype(at::kInt).device(device);
  at::Tensor all = at::empty({gpu.world_size(), 1}, options);
  reversed->all_gather(all, at::full({1}, gpu.rank(), options)).wait();
  EXPECT_TRUE(at::equal(all.cpu().flatten(), at::arange(gpu.world_size() - 1, -1, -1, at::kInt)));
  at::Tensor own = at::full({1}, 5, options);
  alone->all_reduce(own).wait();
  EXPECT_EQ(own.item<int>(), 5);
  alone->close();
  reversed->close();
}

namespace {

// x ← (sum over ranks of (x + 1)) / ranks, many times, with kernels that take a while in front of each call.
at::Tensor chain(Communicator& gpu, c10::Device device) {
  constexpr int kRounds = 10;
  at::Tensor x = at::zeros({100'003}, at::TensorOptions().device(device));
  at::Tensor busy = at::full({1024, 1024}, 1.0 / 1024, x.options());
  for (int i = 0; i < kRounds; ++i) {
    for (int k = 0; k < 20; ++k) busy = at::mm(busy, busy);  // stays as it is
    x.add_(busy[0][0]).add_(1.0 - 1.0 / 1024);
    gpu.all_reduce(x).wait();
    x.div_(gpu.world_size());
  }
  return x;
}

}  // namespace

void check_stream_order(Communicator& gpu, c10::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const at::Tensor on_default = chain(gpu, device).cpu();
  EXPECT_TRUE(at::equal(on_default, at::full_like(on_default, 10)));
  const c10::StreamGuard side(guard.getStreamFromGlobalPool(device));
  const at::Tensor on_side = chain(gpu, device).cpu();
  EXPECT_TRUE(at::equal(on_side, on_default));
}

}  // namespace lockstep::testing
