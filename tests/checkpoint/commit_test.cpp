// SPDX-License-Identifier: Apache-2.0
// What several writers wrote becomes one checkpoint, or nothing.
#include "write/commit.hpp"

#include "format/step_folder.hpp"
#include "lockstep/base/crc32c.hpp"
#include "sample_checkpoint.hpp"
#include "write/part.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Gives rank `rank` its half of a tensor.
void shard(TensorSlice& slice, int rank) {
  const std::int64_t half = slice.elements / 2;
  slice.elements = half;
  if (rank == 0) return;
  slice.first_element = half;
  slice.data += static_cast<std::size_t>(half) * size_of(slice.dtype);
}

class Commit : public testing::Test {
 protected:
  // All of it replicated but the sharded one.
  static SampleState state_of(int rank, std::int64_t step = 7) {
    SampleState state = small_state(step);
    state.add("/model/large", DType::float32, {300, 301});
    state.add("/model/empty", DType::int64, {0});
    state.add("/optimizer/m", DType::float64, {20'000});
    shard(state.contents.tensors.back(), rank);
    return state;
  }

  // Lets two ranks write their files and returns what rank 0 knows then.
  Manifest write_parts(const fs::path& unfinished, std::int64_t step = 7) {
    const SampleState states[] = {state_of(0, step), state_of(1, step)};
    const std::vector<HeldSlice> held[] = {held_slices(states[0].contents), held_slices(states[1].contents)};
    const WritePlan plan = plan_writes(held);
    std::vector<PartReport> reports;
    for (int rank : {0, 1}) reports.push_back(write_part(unfinished, states[rank].contents, plan, rank));
    return make_manifest(states[0].contents, plan, reports);
  }

  static PartReport write_part(const fs::path& unfinished, const CheckpointContents& contents, const WritePlan& plan,
                               int rank) {
    StagingMemory memory;
    const Part part = make_part(plan, rank);
    WriteJob job{.path = unfinished / part_name(rank), .image = prepare_image(part, memory)};
    const auto from = sources(plan, part.written, contents);
    PartReport report;
    for (std::size_t i = 0; i < part.written.size(); ++i) {
      const auto& [tensor, piece, offset, bytes] = part.written[i];
      std::ranges::copy(from[i].bytes, job.image.data() + offset);
      job.pieces.push_back({offset, bytes});
      report.offsets.push_back(offset);
    }
    FileWriter writer;
    writer.start(std::move(job));
    WrittenFile written = writer.take();
    report.file = std::move(written.file);
    report.crcs = std::move(written.piece_crcs);
    return report;
  }

  fs::path commit_step(std::int64_t step = 7) {
    const fs::path unfinished = make_unfinished_folder(folder_.path(), step);
    return commit(unfinished, write_parts(unfinished, step), index_, warnings_);
  }

  template <class Action>
  static std::string io_error(Action&& action) {
    try {
      action();
    } catch (const IoError& error) {
      return error.what();
    }
    ADD_FAILURE() << "no IoError was thrown";
    return {};
  }

  test::TemporaryDirectory folder_;
  fs::path path_ = folder_.path() / "step-00000007";
  KeptIndex index_;
  std::vector<std::string> warnings_;
};

TEST_F(Commit, makes_one_checkpoint_of_what_two_ranks_wrote) {
  EXPECT_EQ(commit_step(), path_);
  EXPECT_THAT(warnings_, IsEmpty());
  EXPECT_THAT(names_in(path_), ElementsAre("MANIFEST", "index.h5", "rank-00000.h5", "rank-00001.h5"));
  const Checkpoint checkpoint = Checkpoint::open(path_);
  checkpoint.verify();
  EXPECT_EQ(checkpoint.world_size(), 2);
  expect_holds(checkpoint, state_of(0));
  EXPECT_EQ(read_text(folder_.path() / "LATEST"), "step-00000007\n");
}

TEST_F(Commit, needs_every_file_in_its_own_folder) {
  const fs::path unfinished = make_unfinished_folder(folder_.path(), 7);
  const Manifest manifest = write_parts(unfinished);
  fs::resize_file(unfinished / "rank-00001.h5", 4096);
  EXPECT_THAT(io_error([&] { commit(unfinished, manifest, index_, warnings_); }),
              AllOf(HasSubstr("rank-00001.h5"), HasSubstr("4096 bytes here"), HasSubstr("all hosts share")));
  fs::remove(unfinished / "rank-00001.h5");
  EXPECT_THAT(io_error([&] { commit(unfinished, manifest, index_, warnings_); }),
              AllOf(HasSubstr("rank-00001.h5"), HasSubstr("No such file or directory")));
  EXPECT_THAT(list_checkpoints(folder_.path()), IsEmpty());
}

TEST_F(Commit, keeps_a_good_checkpoint_of_that_step) {
  write_checkpoint(folder_.path(), small_state(7).contents);
  EXPECT_EQ(commit_step(), path_);
  expect_holds(Checkpoint::open(path_), small_state(7));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("it was kept")));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("LATEST", "step-00000007"));
}

TEST_F(Commit, sets_aside_a_damaged_one_and_whatever_else_has_its_name) {
  const fs::path file = write_checkpoint(folder_.path(), small_state(7).contents) / "rank-00000.h5";
  flip_bit(file, fs::file_size(file) - 1, 3);
  commit_step();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("step-00000007.damaged-")));
  fs::remove_all(path_);
  fs::create_directory(path_);
  commit_step();
  fs::remove_all(path_);
  write_text(path_, "a file");
  commit_step();
  fs::remove_all(path_);
  fs::create_directory_symlink(folder_.path(), path_);
  commit_step();
  expect_holds(Checkpoint::open(path_), state_of(0));
}

TEST_F(Commit, does_not_touch_one_of_a_newer_schema) {
  fs::create_directory(path_);
  std::string newer = R"({"schema_version":99})"
                      "\n";
  char crc[32];
  std::snprintf(crc, sizeof crc, "crc32c %08x\n", crc32c(std::as_bytes(std::span(newer))));
  newer += crc;
  write_text(path_ / "MANIFEST", newer);
  EXPECT_THAT(checkpoint_error([&] { commit_step(); }), HasSubstr("schema_version 99"));
  EXPECT_EQ(read_text(path_ / "MANIFEST"), newer);
}

TEST_F(Commit, stands_when_LATEST_cannot_be_written) {
  fs::create_directories(folder_.path() / "LATEST" / "in the way");
  commit_step();
  expect_holds(Checkpoint::open(path_), state_of(0));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("LATEST")));
}

TEST_F(Commit, discard_leaves_nothing_and_does_not_mind_nothing) {
  const fs::path unfinished = make_unfinished_folder(folder_.path() / "a" / "b", 7);
  EXPECT_EQ(fs::status(unfinished).permissions(), fs::perms{0700});
  write_text(unfinished / "file", "x");
  discard(unfinished);
  discard(unfinished);
  EXPECT_THAT(names_in(folder_.path() / "a" / "b"), IsEmpty());
}

TEST_F(Commit, a_report_that_does_not_fit_the_plan_is_refused) {
  const SampleState states[] = {state_of(0), state_of(1)};
  const std::vector<HeldSlice> held[] = {held_slices(states[0].contents), held_slices(states[1].contents)};
  const WritePlan plan = plan_writes(held);
  std::vector<PartReport> reports(2);
  for (int rank : {0, 1}) {
    const std::size_t pieces = make_part(plan, rank).written.size();
    reports[static_cast<std::size_t>(rank)] = {
        {.name = part_name(rank)}, std::vector<std::uint64_t>(pieces), std::vector<std::uint32_t>(pieces)};
  }
  EXPECT_NO_THROW(static_cast<void>(make_manifest(states[0].contents, plan, reports)));
  const auto expect_refused = [&](auto&& spoil) {
    auto spoilt = reports;
    spoil(spoilt);
    EXPECT_THAT(io_error([&] { static_cast<void>(make_manifest(states[0].contents, plan, spoilt)); }),
                HasSubstr("rank 1"));
  };
  expect_refused([](auto& all) { all.pop_back(); });
  expect_refused([](auto& all) { all[1].crcs.pop_back(); });
  expect_refused([](auto& all) {
    all[1].crcs.push_back(0);
    all[1].offsets.push_back(0);
  });
  expect_refused([](auto& all) { all[1].file.name = "../rank-00001.h5"; });
}

TEST_F(Commit, parts_compare_what_another_rank_writes_and_share_the_bytes) {
  const SampleState states[] = {state_of(0), state_of(1)};
  const std::vector<HeldSlice> held[] = {held_slices(states[0].contents), held_slices(states[1].contents)};
  const WritePlan plan = plan_writes(held);
  std::uint64_t replicated = 0;
  for (const auto& [name, data] : states[0].bytes) {
    if (name != "/optimizer/m") replicated += data.size();
  }
  for (int rank : {0, 1}) {
    const Part part = make_part(plan, rank);
    std::uint64_t written = 0;
    std::uint64_t compared = 0;
    for (const auto& piece : part.written) written += piece.bytes;
    for (const auto& piece : part.compared) compared += piece.bytes;
    EXPECT_EQ(written + compared, replicated + 80'000) << "each byte that a rank holds, once";
    EXPECT_LE(static_cast<double>(written), 1.05 * (static_cast<double>(replicated) + 160'000) / 2);
  }
}

}  // namespace
}  // namespace lockstep
