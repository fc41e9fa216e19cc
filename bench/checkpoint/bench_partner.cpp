// SPDX-License-Identifier: Apache-2.0
// C17: mpirun -np 4 bench_partner FOLDER [MEBIBYTES]. The ranks are two nodes with a folder each below FOLDER (in
// tmpfs). They save MEBIBYTES of state, shard by shard, and lose the second node's folder; timed is what restores a
// whole checkpoint on both nodes, and what then reads the state. Prints a line of JSON.
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/session.hpp"

namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "/model/state";
constexpr std::int64_t kStep = 1;

// Every byte differs from its neighbours and from those of other ranks.
std::vector<std::byte> shard_of(int rank, std::size_t bytes) {
  std::vector<std::byte> shard(bytes);
  std::uint64_t value = static_cast<std::uint64_t>(rank) << 56;
  for (std::size_t at = 0; at + sizeof value <= bytes; at += sizeof value, value += 0x9E3779B97F4A7C15U) {
    std::memcpy(shard.data() + at, &value, sizeof value);
  }
  return shard;
}

// Collective. Of the slowest rank.
template <class Timed>
double seconds(lockstep::Communicator& world, Timed timed) {
  world.barrier();
  const auto begin = std::chrono::steady_clock::now();
  timed();
  double time = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  world.all_reduce({&time, 1, lockstep::DType::float64}, lockstep::ReduceOp::max).wait();
  return time;
}

void measure(lockstep::Communicator& world, const fs::path& folder, std::int64_t mebibytes) {
  const int ranks = world.world_size();
  lockstep::PartnerOptions options;
  for (int rank = 0; rank < ranks; ++rank) options.nodes.push_back(2 * rank / ranks);
  const int node = options.nodes[static_cast<std::size_t>(world.rank())];
  options.folder = folder / fmt::format("host{}", node);

  const std::int64_t bytes = (mebibytes << 20) / ranks;
  const auto shard = shard_of(world.rank(), static_cast<std::size_t>(bytes));
  const lockstep::TensorSlice slice{kName,       lockstep::DType::uint8, {bytes * ranks}, bytes * world.rank(), bytes,
                                    shard.data()};
  lockstep::CheckpointContents contents;
  contents.step = kStep;
  contents.tensors.push_back(slice);
  lockstep::PartnerSaver saver(world, options);
  std::string failure;
  const double saved = seconds(world, [&] {
    saver.save(contents);
    failure = saver.finish().value().failure;
  });
  if (!failure.empty()) throw lockstep::CheckpointError({.what = "save", .why = failure, .fix = {}});

  if (world.rank() == ranks - 1) fs::remove_all(options.folder);
  fs::path path;
  const double restored = seconds(world, [&] { path = lockstep::restore_from_partners(world, options).newest_good; });
  std::vector<std::byte> read(shard.size());
  const double loaded = seconds(world, [&] {
    const lockstep::ReadRequest request{kName, slice.first_element, read};
    lockstep::Checkpoint::open(path).read(std::span(&request, 1));
  });
  if (read != shard)
    throw lockstep::CheckpointError({.what = "restore", .why = "other bits than were saved", .fix = {}});
  if (world.rank() != 0) return;
  const double gibibytes = static_cast<double>(bytes * ranks) / (1 << 30);
  fmt::print(R"({{"ranks": {}, "nodes": 2, "bytes": {}, "save_seconds": {:.3f}, "restore_seconds": {:.3f}, )"
             R"("load_seconds": {:.3f}, "restore_seconds_per_gib": {:.3f}, "with_load_seconds_per_gib": {:.3f}}})"
             "\n",
             ranks, bytes * ranks, saved, restored, loaded, restored / gibibytes, (restored + loaded) / gibibytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: mpirun -np 4 bench_partner FOLDER [MEBIBYTES]\n");
    return 2;
  }
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  try {
    lockstep::Communicator world = session->world();
    const fs::path folder = fs::path(argv[1]) / "bench_partner";
    measure(world, folder, argc > 2 ? std::stoll(argv[2]) : 1024);
    world.barrier();
    if (world.rank() == 0) fs::remove_all(folder);
    world.close();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    session->abort(1);
  }
  session->finalize();
  return 0;
}
