// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/saver.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "lockstep/comm/local.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The whole of a tensor, a function of its name and the step.
std::vector<float> values(const std::string& name, std::int64_t step, std::int64_t elements) {
  std::mt19937 random(static_cast<unsigned>(std::hash<std::string>{}(name) + static_cast<std::size_t>(step)));
  std::vector<float> result(static_cast<std::size_t>(elements));
  for (float& value : result) value = static_cast<float>(random()) / 65536.0F;
  return result;
}

struct Shape {
  std::string name;
  std::vector<std::int64_t> shape;
  bool sharded = false;  // rank r has a contiguous part of it
  bool buffer = false;
  [[nodiscard]] std::int64_t elements() const {
    std::int64_t product = 1;
    for (const std::int64_t dimension : shape) product *= dimension;
    return product;
  }
};

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all{{"/model/embedding", {300, 257}, false, false},
                                      {"/model/fc.weight", {128, 33}, false, false},
                                      {"/model/fc.bias", {128}, false, false},
                                      {"/model/bn.running_mean", {64}, false, true},
                                      {"/model/scale", {}, false, false},
                                      {"/model/none", {0, 4}, false, false},
                                      {"/optimizer/m", {100'003}, true, false},
                                      {"/optimizer/v", {7}, true, false}};
  return all;
}

// One rank's state.
class RankState {
 public:
  RankState(const Communicator& world, std::int64_t step) {
    contents.step = step;
    contents.seed = 7;
    contents.determinism = {.micro_batches = 4, .intra_op_threads = 1, .libtorch = "2.11.0", .cpu_capability = "AVX2"};
    contents.blobs = {{"loader", "{\"position\":" + std::to_string(step) + "}"}};
    contents.metrics = {{"loss", 1.0 / static_cast<double>(step)}};
    for (const Shape& shape : shapes()) {
      std::vector<float> all = values(shape.name, step, shape.elements());
      const Range own =
          shape.sharded ? even_split(shape.elements(), world.world_size(), world.rank()) : Range{0, shape.elements()};
      memory.emplace_back(all.begin() + own.first, all.begin() + own.last);
      contents.tensors.push_back({shape.name, DType::float32, shape.shape, own.first, own.size(),
                                  reinterpret_cast<const std::byte*>(memory.back().data()), shape.buffer});
    }
  }
  void overwrite() {
    for (auto& tensor : memory) std::ranges::fill(tensor, -1.0F);
  }
  std::vector<std::vector<float>> memory;
  CheckpointContents contents;
};

void expect_holds_step(const fs::path& path, std::int64_t step) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  checkpoint.verify();
  EXPECT_EQ(checkpoint.step(), step);
  EXPECT_EQ(checkpoint.tensors().size(), shapes().size());
  for (const Shape& shape : shapes()) {
    std::vector<float> read(static_cast<std::size_t>(shape.elements()));
    checkpoint.read(shape.name, std::as_writable_bytes(std::span(read)));
    EXPECT_EQ(read, values(shape.name, step, shape.elements())) << shape.name;
  }
  EXPECT_EQ(checkpoint.blob("loader"), "{\"position\":" + std::to_string(step) + "}");
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

class Saver : public testing::TestWithParam<int> {
 protected:
  // A body for each rank, with its saver.
  template <class Body>
  void run(Body body, RetentionPolicy retention = {}) {
    run_local_ranks(GetParam(), [&](Communicator& world) {
      CheckpointSaver saver(world, {.folder = folder.path(), .retention = retention});
      body(world, saver);
    });
  }
  SaveOutcome save(Communicator& world, CheckpointSaver& saver, std::int64_t step) {
    const RankState state(world, step);
    saver.save(state.contents);
    return saver.finish().value();
  }
  const test::TemporaryDirectory folder;
};

TEST_P(Saver, every_rank_learns_of_a_checkpoint_that_holds_every_bit) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    const SaveOutcome outcome = save(world, saver, 5);
    EXPECT_THAT(outcome.failure, IsEmpty());
    EXPECT_THAT(outcome.warnings, IsEmpty());
    EXPECT_EQ(outcome.path, folder.path() / "step-00000005");
    EXPECT_EQ(outcome.step, 5);
  });
  expect_holds_step(folder.path() / "step-00000005", 5);
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "step-00000005");
  EXPECT_EQ(checkpoint.world_size(), GetParam());
  EXPECT_EQ(checkpoint.files(), static_cast<std::size_t>(GetParam()) + 1) << "one a rank, and index.h5";
  EXPECT_THAT(checkpoint.metrics(), ElementsAre(testing::Pair("loss", 0.2)));
}

TEST_P(Saver, memory_may_change_once_save_has_returned) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    RankState state(world, 5);
    saver.save(state.contents);
    state.overwrite();
    EXPECT_THAT(saver.finish().value().failure, IsEmpty());
  });
  expect_holds_step(folder.path() / "step-00000005", 5);
}

TEST_P(Saver, overlapped_buffers_may_change_at_once_and_the_rest_when_staged) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    RankState state(world, 5);
    saver.save(state.contents, true);
    for (std::size_t i = 0; i < shapes().size(); ++i) {
      if (shapes()[i].buffer) std::ranges::fill(state.memory[i], -1.0F);
    }
    saver.wait_until_staged();
    state.overwrite();
    EXPECT_THAT(saver.finish().value().failure, IsEmpty());
  });
  expect_holds_step(folder.path() / "step-00000005", 5);
}

TEST_P(Saver, an_overlapped_save_has_the_bytes_of_any_other) {
  run([&](Communicator& world, CheckpointSaver& saver) { save(world, saver, 5); });
  fs::rename(folder.path() / "step-00000005", folder.path() / "plain");
  run([&](Communicator& world, CheckpointSaver& saver) {
    const RankState state(world, 5);
    saver.save(state.contents, true);
    saver.wait_until_staged();
    static_cast<void>(saver.finish());
  });
  for (const std::string& name : names_in(folder.path() / "plain")) {
    std::ifstream plain(folder.path() / "plain" / name, std::ios::binary);
    std::ifstream overlapped(folder.path() / "step-00000005" / name, std::ios::binary);
    EXPECT_TRUE(std::equal(std::istreambuf_iterator<char>(plain), {}, std::istreambuf_iterator<char>(overlapped), {}))
        << name;
  }
}

TEST_P(Saver, one_save_after_another_keeps_all) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    for (std::int64_t step = 1; step <= 4; ++step) EXPECT_THAT(save(world, saver, step).failure, IsEmpty());
  });
  for (std::int64_t step = 1; step <= 4; ++step) expect_holds_step(checkpoint_path(folder.path(), step), step);
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("LATEST", "step-00000001", "step-00000002", "step-00000003", "step-00000004"));
}

TEST_P(Saver, poll_brings_a_save_to_its_end) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    EXPECT_FALSE(saver.poll().has_value());
    const RankState state(world, 5);
    saver.save(state.contents);
    EXPECT_TRUE(saver.in_flight());
    std::optional<SaveOutcome> outcome;
    while (!(outcome = saver.poll())) std::this_thread::yield();
    EXPECT_THAT(outcome->failure, IsEmpty());
    EXPECT_FALSE(saver.in_flight());
    EXPECT_FALSE(saver.finish().has_value());
  });
  expect_holds_step(folder.path() / "step-00000005", 5);
}

TEST_P(Saver, other_tensors_than_last_time_get_another_layout) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    save(world, saver, 1);
    RankState state(world, 2);
    const std::vector<float> more(1000, 3.0F);
    state.contents.tensors.push_back(
        {"/model/more", DType::float32, {1000}, 0, 1000, reinterpret_cast<const std::byte*>(more.data()), false});
    saver.save(state.contents);
    EXPECT_THAT(saver.finish().value().failure, IsEmpty());
  });
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "step-00000002");
  std::vector<float> read(1000);
  checkpoint.read("/model/more", std::as_writable_bytes(std::span(read)));
  EXPECT_THAT(read, testing::Each(3.0F));
}

TEST_P(Saver, replicas_that_differ_are_an_error_that_names_tensor_and_rank) {
  if (GetParam() == 1) return;  // one rank has no replicas
  run([&](Communicator& world, CheckpointSaver& saver) {
    save(world, saver, 1);
    RankState state(world, 2);
    if (world.rank() == world.world_size() - 1) state.memory[1][17] += 1.0F;
    saver.save(state.contents);
    try {
      static_cast<void>(saver.finish());
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("save step 2"), HasSubstr("/model/fc.weight: "),
                                      HasSubstr("rank " + std::to_string(world.world_size() - 1)),
                                      testing::Not(HasSubstr("/model/fc.bias"))));
    }
  });
  EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-00000001"));
}

TEST_P(Saver, a_folder_that_cannot_be_made_fails_the_save_and_not_the_next) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    if (world.rank() == 0) {
      fs::remove_all(folder.path());
      std::ofstream(folder.path()) << "a file";
    }
    world.barrier();
    EXPECT_THAT(save(world, saver, 1).failure, AllOf(HasSubstr("rank 0"), HasSubstr("Not a directory")));
    if (world.rank() == 0) fs::remove(folder.path());
    world.barrier();
    EXPECT_THAT(save(world, saver, 2).failure, IsEmpty());
  });
  expect_holds_step(folder.path() / "step-00000002", 2);
}

TEST_P(Saver, slices_that_do_not_cover_a_tensor_are_refused_on_all_ranks) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    RankState state(world, 1);
    for (TensorSlice& slice : state.contents.tensors) {
      if (slice.name == "/optimizer/m" && world.rank() == 0) --slice.elements;
    }
    EXPECT_THAT([&] { saver.save(state.contents); },
                testing::ThrowsMessage<Error>(AllOf(HasSubstr("/optimizer/m"), HasSubstr("no rank holds"))));
    EXPECT_FALSE(saver.in_flight());
    EXPECT_THAT(save(world, saver, 2).failure, IsEmpty());
  });
}

TEST_P(Saver, a_second_save_in_flight_is_refused) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    const RankState state(world, 1);
    saver.save(state.contents);
    EXPECT_THROW(saver.save(state.contents), UsageError);
    static_cast<void>(saver.finish());
  });
}

TEST_P(Saver, retention_removes_what_the_policy_lets_go) {
  run(
      [&](Communicator& world, CheckpointSaver& saver) {
        for (std::int64_t step = 1; step <= 5; ++step) {
          const SaveOutcome outcome = save(world, saver, step);
          EXPECT_THAT(outcome.warnings, IsEmpty());
          EXPECT_EQ(outcome.removed.size(), step > 2 ? 1U : 0U);
        }
      },
      {.keep_last = 2});
  EXPECT_EQ(list_checkpoints(folder.path()), (std::vector<std::int64_t>{5, 4}));
}

TEST_P(Saver, a_saver_that_goes_away_commits_nothing) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    save(world, saver, 1);
    const RankState state(world, 2);
    saver.save(state.contents);
  });
  EXPECT_EQ(list_checkpoints(folder.path()), std::vector<std::int64_t>{1});
  remove_unfinished_checkpoints(folder.path());
  EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-00000001"));
}

TEST_P(Saver, the_search_of_a_job_finds_what_a_single_process_finds) {
  run([&](Communicator& world, CheckpointSaver& saver) {
    EXPECT_TRUE(find_checkpoint(world, folder.path()).newest_good.empty());
    for (std::int64_t step = 1; step <= 3; ++step) save(world, saver, step);
    if (world.rank() == 0) {
      // A hole in the last rank's file: another rank finds it than rank 0.
      const fs::path file = folder.path() / "step-00000003" / ("rank-0000" + std::to_string(GetParam() - 1) + ".h5");
      std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('\x55').put('\x2a');
      fs::remove(folder.path() / "step-00000002" / "index.h5");
    }
    world.barrier();
    const AgreedSearch search = find_checkpoint(world, folder.path());
    EXPECT_EQ(search.newest_good, folder.path() / "step-00000001");
    ASSERT_EQ(search.damaged.size(), 2U);
    EXPECT_THAT(search.damaged[0].reason, HasSubstr("rank-0000" + std::to_string(GetParam() - 1)));
    EXPECT_THAT(search.damaged[1].reason, HasSubstr("index.h5"));
  });
}

INSTANTIATE_TEST_SUITE_P(WorldSize, Saver, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace lockstep
