// SPDX-License-Identifier: Apache-2.0
// What goes in comes out, and what cannot be stored is refused before anything is written.
#include <cmath>

#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class CheckpointOfDType : public testing::TestWithParam<DType> {};

TEST_P(CheckpointOfDType, holds_the_same_bits_in_every_rank) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(7);
  state.add("/model/cube", GetParam(), {5, 3, 2});
  state.add("/model/row", GetParam(), {1001});
  state.add("/model/scalar", GetParam(), {});
  state.add("/model/empty", GetParam(), {0, 4});

  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), state.contents));

  expect_holds(checkpoint, state);
  for (const TensorSlice& slice : state.contents.tensors) {
    EXPECT_EQ(checkpoint.find(slice.name)->dtype, slice.dtype) << slice.name;
    EXPECT_EQ(checkpoint.find(slice.name)->shape, slice.global_shape) << slice.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CheckpointOfDType,
                         testing::Values(DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64,
                                         DType::int32, DType::int16, DType::int8, DType::uint8, DType::boolean),
                         [](const auto& dtype) { return std::string(name_of(dtype.param)); });

TEST(WriteCheckpoint, keeps_step_world_seed_and_determinism) {
  const test::TemporaryDirectory folder;
  const SampleState state = small_state(123'456'789);
  const auto path = write_checkpoint(folder.path(), state.contents);
  const Checkpoint checkpoint = Checkpoint::open(path);
  EXPECT_EQ(path, folder.path() / "step-123456789");
  EXPECT_EQ(checkpoint.path(), path);
  EXPECT_EQ(checkpoint.step(), 123'456'789);
  EXPECT_EQ(checkpoint.world_size(), 1);
  EXPECT_EQ(checkpoint.seed(), state.contents.seed);
  EXPECT_EQ(checkpoint.determinism(), state.contents.determinism);
}

TEST(WriteCheckpoint, makes_the_folder_and_leaves_nothing_beside_the_checkpoint) {
  const test::TemporaryDirectory folder;
  const auto path = write_checkpoint(folder.path() / "run" / "checkpoints", small_state(10).contents);
  EXPECT_THAT(names_in(folder.path() / "run" / "checkpoints"), testing::ElementsAre("LATEST", "step-00000010"));
  EXPECT_THAT(names_in(path), testing::ElementsAre("MANIFEST", "index.h5", "rank-00000.h5"));
}

TEST(WriteCheckpoint, stores_blobs_empty_ones_and_any_text) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(1);
  state.contents.blobs["empty"] = "";
  state.contents.blobs["loaders/train"] = std::string("\0\"\n\xc3\xa4", 5);
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), state.contents));
  expect_holds(checkpoint, state);
  EXPECT_EQ(checkpoint.blob("absent"), std::nullopt);
}

TEST(WriteCheckpoint, stores_no_tensors_at_all) {
  const test::TemporaryDirectory folder;
  CheckpointContents contents;
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), contents));
  EXPECT_THAT(checkpoint.tensors(), IsEmpty());
}

TEST(WriteCheckpoint, lists_tensors_in_bytewise_order) {
  const test::TemporaryDirectory folder;
  SampleState state;
  for (const char* name : {"/b", "/a/c", "/a.b", "/\xc3\xa4", "/B"}) state.add(name, DType::int8, {1});
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), state.contents));
  std::vector<std::string> names;
  for (const StoredTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, testing::ElementsAre("/B", "/a.b", "/a/c", "/b", "/\xc3\xa4"));
  expect_holds(checkpoint, state);
}

TEST(WriteCheckpoint, keeps_a_good_checkpoint_of_the_same_step) {
  const test::TemporaryDirectory folder;
  const SampleState first = small_state(5);
  const auto path = write_checkpoint(folder.path(), first.contents);
  SampleState second = small_state(5);
  second.add("/model/new", DType::float32, {1});
  EXPECT_EQ(write_checkpoint(folder.path(), second.contents), path);
  expect_holds(Checkpoint::open(path), first);
}

TEST(WriteCheckpoint, sets_a_damaged_checkpoint_of_the_same_step_aside) {
  const test::TemporaryDirectory folder;
  const SampleState state = small_state(5);
  const auto path = write_checkpoint(folder.path(), state.contents);
  flip_bit(path / "MANIFEST", 20, 0);
  EXPECT_EQ(write_checkpoint(folder.path(), state.contents), path);
  expect_holds(Checkpoint::open(path), state);
  EXPECT_THAT(names_in(folder.path()),
              testing::ElementsAre("LATEST", "step-00000005", testing::StartsWith("step-00000005.damaged-")));
}

TEST(WriteCheckpoint, sets_aside_one_whose_tensors_are_damaged) {
  const test::TemporaryDirectory folder;
  const SampleState state = small_state(5);
  const auto path = write_checkpoint(folder.path(), state.contents);
  flip_bit(path / "rank-00000.h5", std::filesystem::file_size(path / "rank-00000.h5") - 1, 0);
  EXPECT_EQ(write_checkpoint(folder.path(), state.contents), path);
  expect_holds(Checkpoint::open(path), state);
}

TEST(WriteCheckpoint, joins_slices_that_cover_a_tensor_in_any_order) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(5);
  auto& slices = state.contents.tensors;
  TensorSlice head = slices[0];
  head.elements = 100;
  slices[0].first_element = 100;
  slices[0].elements -= 100;
  slices[0].data += 400;
  slices.push_back(head);
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), state.contents));
  EXPECT_EQ(read_tensor(checkpoint, head.name), state.bytes.at(head.name));
}

TEST(WriteCheckpoint, keeps_metrics_but_those_that_are_no_numbers) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(5);
  state.contents.metrics = {{"eval.accuracy", 0.1}, {"eval.loss", NAN}, {"train.loss", INFINITY}};
  const Checkpoint checkpoint = Checkpoint::open(write_checkpoint(folder.path(), state.contents));
  EXPECT_THAT(checkpoint.metrics(), testing::ElementsAre(testing::Pair("eval.accuracy", 0.1)));
}

TEST(WriteCheckpoint, is_for_its_owner_alone) {
  const test::TemporaryDirectory folder;
  const auto path = write_checkpoint(folder.path() / "new", small_state(5).contents);
  const auto mode = [](const std::filesystem::path& of) { return std::filesystem::status(of).permissions(); };
  for (const auto& each : {path, path.parent_path()}) EXPECT_EQ(mode(each), std::filesystem::perms{0700}) << each;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    EXPECT_EQ(mode(entry.path()), std::filesystem::perms{0600}) << entry.path();
  }
  EXPECT_EQ(mode(folder.path() / "new" / "LATEST"), std::filesystem::perms{0600});
}

TEST(WriteCheckpoint, tells_the_newest_in_LATEST_and_does_not_write_through_a_link) {
  const test::TemporaryDirectory folder;
  write_checkpoint(folder.path(), small_state(1).contents);
  EXPECT_EQ(read_text(folder.path() / "LATEST"), "step-00000001\n");
  write_text(folder.path() / "elsewhere", "untouched");
  for (const char* name : {"LATEST", "LATEST.tmp"}) {
    std::filesystem::remove(folder.path() / name);
    std::filesystem::create_symlink("elsewhere", folder.path() / name);
  }
  write_checkpoint(folder.path(), small_state(2).contents);
  EXPECT_EQ(read_text(folder.path() / "LATEST"), "step-00000002\n");
  EXPECT_EQ(read_text(folder.path() / "elsewhere"), "untouched");
}

TEST(WriteCheckpoint, the_same_contents_give_the_same_files) {
  // Replicas and reruns are compared by checksum: no time stamp or heap garbage may get in.
  const test::TemporaryDirectory first;
  const test::TemporaryDirectory second;
  const auto one = write_checkpoint(first.path(), small_state(5).contents);
  const auto two = write_checkpoint(second.path(), small_state(5).contents);
  for (const char* name : {"rank-00000.h5", "index.h5", "MANIFEST"})
    EXPECT_EQ(read_text(one / name), read_text(two / name)) << name;
}

struct BadContents {
  const char* name;
  void (*spoil)(CheckpointContents&);
  const char* why;
};

class UnstorableContents : public testing::TestWithParam<BadContents> {};

TEST_P(UnstorableContents, are_refused_before_anything_is_written) {
  const test::TemporaryDirectory folder;
  SampleState state = small_state(1);
  GetParam().spoil(state.contents);
  EXPECT_THAT([&] { write_checkpoint(folder.path(), state.contents); },
              ThrowsMessage<UsageError>(HasSubstr(GetParam().why)));
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    All, UnstorableContents,
    testing::Values(
        BadContents{"first_element", [](auto& c) { c.tensors[0].first_element = 8; }, "288 elements from 8 on, of 288"},
        BadContents{"part", [](auto& c) { c.tensors[0].elements = 8; }, "no rank holds its elements 8 to 287"},
        BadContents{"negative_shape", [](auto& c) { c.tensors[0].global_shape = {-1}; }, "its shape is [-1]"},
        BadContents{"null_data", [](auto& c) { c.tensors[0].data = nullptr; }, "null"},
        BadContents{"twins", [](auto& c) { c.tensors.push_back(c.tensors[0]); }, "twice"},
        BadContents{"relative_name", [](auto& c) { c.tensors[0].name = "conv1"; }, "not an HDF5 path"},
        BadContents{"dots", [](auto& c) { c.tensors[0].name = "/model/./a"; }, "not an HDF5 path"},
        BadContents{"slash_at_the_end", [](auto& c) { c.tensors[0].name = "/model/"; }, "not an HDF5 path"},
        BadContents{"blob_name", [](auto& c) { c.tensors[0].name = "/blobs/a"; }, "are those of blobs"},
        BadContents{"blob_not_utf8", [](auto& c) { c.blobs["loader"] = "\xff"; }, "blob \"loader\""},
        BadContents{"metric_not_utf8", [](auto& c) { c.metrics["\xff"] = 1; }, "UTF-8"},
        BadContents{"below_a_tensor", [](auto& c) { c.tensors[0].name = "/model/conv1.bias/a/b"; },
                    "below /model/conv1.bias"},
        BadContents{"line_break", [](auto& c) { c.tensors[0].name = "/model/a\nb"; }, "not an HDF5 path"},
        BadContents{"not_utf8", [](auto& c) { c.tensors[0].name = "/model/\xff"; }, "UTF-8"},
        BadContents{"negative_step", [](auto& c) { c.step = -1; }, "step of at least 0"},
        BadContents{"no_micro_batch", [](auto& c) { c.determinism.micro_batches = 0; }, "counts of at least 1"}),
    [](const auto& contents) { return contents.param.name; });

}  // namespace
}  // namespace lockstep
