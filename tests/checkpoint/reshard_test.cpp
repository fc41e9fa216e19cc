// SPDX-License-Identifier: Apache-2.0
// A state saved by any number of ranks is read by any other number, exactly, and hardly a byte more than each needs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "checkpoint/raw_checkpoint.hpp"
#include "lockstep/base/split.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::Bytes;
using test::RawCuts;
using test::RawState;
using test::RawTensor;

constexpr std::array kWorldSizes{1, 2, 3, 4, 6, 8};
constexpr const char* kMoments = "/optimizer/exp_avg";  // flat and cut evenly over ranks, as ZeRO-1 does

// 4 MiB that all ranks hold and 24 MiB of which each holds a part: at 8 ranks a part is 3 MiB. No size is a multiple of
// the blocks' or of a world size.
const RawState& state() {
  static const RawState kState = [] {
    RawState made{.step = 1};
    made.add("/model/embedding", DType::float32, {1023, 769});
    for (int i = 0; i < 12; ++i) {
      made.add("/model/layer" + std::to_string(i), DType::bfloat16, {200 + i, 191});
    }
    made.add(kMoments, DType::float32, {(6 << 20) + 5});
    made.add("/optimizer/step", DType::int64, {});
    return made;
  }();
  return kState;
}

Range part_of(const RawTensor& tensor, int world_size, int rank) {
  return even_split(tensor.elements(), world_size, rank);
}

// Replicas are spread over the writers, the larger ones in parts.
RawCuts cuts_of(int world_size) {
  RawCuts cuts;
  int next = 0;
  for (const auto& [name, tensor] : state().tensors) {
    const bool cut = name == kMoments || tensor.bytes.size() > (1U << 20);
    if (!cut) cuts[name].push_back({next++ % world_size, 0, tensor.elements()});
    for (int rank = 0; cut && rank < world_size; ++rank) {
      const Range part = part_of(tensor, world_size, rank);
      cuts[name].push_back({rank, part.first, part.size()});
    }
  }
  return cuts;
}

// What one rank of the loading job holds.
struct RankState {
  std::vector<Bytes> bytes;
  std::vector<const std::byte*> wanted;
  std::vector<ReadRequest> requests;
  std::uint64_t needed = 0;

  RankState(int world_size, int rank) {
    for (const auto& [name, tensor] : state().tensors) {
      const Range part = name == kMoments ? part_of(tensor, world_size, rank) : Range{0, tensor.elements()};
      const std::size_t size = size_of(tensor.dtype);
      bytes.emplace_back(static_cast<std::size_t>(part.size()) * size);
      wanted.push_back(tensor.bytes.data() + static_cast<std::size_t>(part.first) * size);
      requests.push_back({name, part.first, bytes.back()});
      needed += bytes.back().size();
    }
  }
  [[nodiscard]] bool is_exact() const {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (!std::ranges::equal(bytes[i], std::span(wanted[i], bytes[i].size()))) return false;
    }
    return true;
  }
};

class SavedBy : public testing::TestWithParam<int> {};

TEST_P(SavedBy, ranks_is_read_by_any_number_of_ranks) {
  const test::TemporaryDirectory folder;
  std::mt19937_64 random(1);
  const auto path = test::write_raw(folder.path(), state(), GetParam(), cuts_of(GetParam()), random);
  for (const int world_size : kWorldSizes) {
    for (int rank = 0; rank < world_size; ++rank) {
      SCOPED_TRACE(testing::Message() << "rank " << rank << "/" << world_size);
      const Checkpoint checkpoint = Checkpoint::open(path);
      const std::uint64_t opened = checkpoint.bytes_read();
      RankState loaded(world_size, rank);
      checkpoint.read(loaded.requests, 1 + rank % 2);
      EXPECT_TRUE(loaded.is_exact());
      EXPECT_LE(static_cast<double>(checkpoint.bytes_read() - opened), 1.05 * static_cast<double>(loaded.needed));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SavedBy, testing::ValuesIn(kWorldSizes));

}  // namespace
}  // namespace lockstep
