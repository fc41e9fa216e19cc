// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/checkpoint/contents.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "lockstep/comm/local.hpp"
#include "rank_state.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::expect_holds_step;
using test::names_in;
using test::RankState;
using test::shapes;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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
