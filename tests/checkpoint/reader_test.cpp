// SPDX-License-Identifier: Apache-2.0
// What was written by any number of ranks, in pieces of any size, is read as it was, whole or in part.
#include "lockstep/checkpoint/reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>

#include <thread>

#include "checkpoint/raw_checkpoint.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::Bytes;
using test::checkpoint_error;
using test::RawState;
using test::small_raw_state;
using test::write_raw;
using testing::AllOf;
using testing::HasSubstr;

class ReadCheckpoint : public testing::Test {
 protected:
  [[nodiscard]] Checkpoint open(int writers = 3) const {
    return Checkpoint::open(write_raw(folder_.path(), state_, writers));
  }

  test::TemporaryDirectory folder_;
  RawState state_ = small_raw_state(7);
};

TEST_F(ReadCheckpoint, tells_step_world_seed_determinism_and_metrics) {
  const Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.path(), folder_.path() / "step-00000007");
  EXPECT_EQ(checkpoint.step(), 7);
  EXPECT_EQ(checkpoint.world_size(), 3);
  EXPECT_EQ(checkpoint.seed(), 18'000'000'000'000'000'000U);
  EXPECT_EQ(checkpoint.determinism(), (DeterminismRecord{4, 2, "2.11.0", "AVX2"}));
  EXPECT_THAT(checkpoint.metrics(), testing::ElementsAre(testing::Pair("eval.accuracy", 0.5)));
}

TEST_F(ReadCheckpoint, counts_the_bytes_of_all_files) {
  const Checkpoint checkpoint = open();
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(checkpoint.path())) bytes += entry.file_size();
  EXPECT_EQ(checkpoint.bytes(), bytes);
  EXPECT_EQ(checkpoint.files(), 4U);
}

TEST_F(ReadCheckpoint, reads_every_dtype_in_any_number_of_pieces) {
  constexpr std::array kDTypes{DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64,
                               DType::int32,   DType::int16,   DType::int8,    DType::uint8,    DType::boolean};
  for (const DType dtype : kDTypes) state_.add("/all/" + std::string(name_of(dtype)), dtype, {5, 7, 11});
  for (const int writers : {1, 2, 5}) {
    const test::TemporaryDirectory folder;
    const Checkpoint checkpoint = Checkpoint::open(write_raw(folder.path(), state_, writers));
    checkpoint.verify();
    EXPECT_TRUE(test::holds(checkpoint, state_)) << writers << " writers";
  }
}

TEST_F(ReadCheckpoint, reads_any_run_of_elements) {
  std::mt19937_64 random(5);
  const Checkpoint checkpoint = open();
  const auto& tensor = state_.tensors.at("/model/embedding");
  std::vector<Bytes> wanted;
  std::vector<Bytes> got;
  std::vector<ReadRequest> requests;
  for (int i = 0; i < 300; ++i) {
    const auto first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(tensor.elements() + 1));
    const auto elements = random() % static_cast<std::uint64_t>(tensor.elements() - first + 1);
    const auto from = tensor.bytes.begin() + first * 4;
    wanted.emplace_back(from, from + static_cast<std::ptrdiff_t>(elements) * 4);
    got.emplace_back(wanted.back().size());
    requests.push_back({tensor.name, first, got.back()});
  }
  for (const int threads : {1, 3}) {
    for (Bytes& bytes : got) std::ranges::fill(bytes, std::byte{});
    checkpoint.read(requests, threads);
    EXPECT_EQ(got, wanted) << threads << " threads";
  }
}

TEST_F(ReadCheckpoint, reads_nothing_but_the_pieces_of_whole_tensors) {
  const Checkpoint checkpoint = open();
  const std::uint64_t opened = checkpoint.bytes_read();
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : state_.tensors) {
    static_cast<void>(test::read_tensor(checkpoint, tensor));
    bytes += tensor.bytes.size();
  }
  EXPECT_EQ(checkpoint.bytes_read() - opened, bytes);
}

TEST_F(ReadCheckpoint, reads_of_a_run_inside_of_a_piece_only_the_blocks_around_it) {
  state_.add("/model/large", DType::float32, {1 << 20});
  const Checkpoint checkpoint = open(1);
  const std::uint64_t opened = checkpoint.bytes_read();
  Bytes bytes(1 << 20);
  const ReadRequest request{"/model/large", 100'000, bytes};
  checkpoint.read({&request, 1});
  EXPECT_LE(checkpoint.bytes_read() - opened, bytes.size() + 2 * (2 * kBlockBytes));
}

TEST_F(ReadCheckpoint, threads_share_a_tensor_of_many_blocks) {
  std::mt19937_64 random(3);
  RawState state{.step = 1};
  state.add("/model/huge", DType::uint8, {40 << 20});
  const auto& tensor = state.tensors.at("/model/huge");
  const auto path = write_raw(folder_.path(), state, 1, {{tensor.name, {{0, 0, tensor.elements()}}}}, random);
  const Checkpoint checkpoint = Checkpoint::open(path);
  Bytes bytes(tensor.bytes.size());
  const ReadRequest request{tensor.name, 0, bytes};
  checkpoint.read({&request, 1}, 3);
  EXPECT_EQ(bytes, tensor.bytes);
}

TEST_F(ReadCheckpoint, may_be_called_by_several_threads) {
  const Checkpoint checkpoint = open();
  std::vector<std::jthread> threads;
  std::array<bool, 4> right{};
  for (bool& one : right) {
    threads.emplace_back([&] {
      one = true;
      for (int i = 0; i < 20; ++i) one = one && test::holds(checkpoint, state_);
    });
  }
  threads.clear();
  EXPECT_THAT(right, testing::Each(true));
}

// Restores the limit of open files.
class FewDescriptors {
 public:
  FewDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = 128;
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(ReadCheckpoint, of_more_writers_than_a_process_may_open_files) {
  RawState state{.step = 1};
  for (int i = 0; i < 1000; ++i) state.add("/model/" + std::to_string(i), DType::int32, {200});
  const auto path = write_raw(folder_.path(), state, 500);
  const FewDescriptors limit;
  const Checkpoint checkpoint = Checkpoint::open(path);
  checkpoint.verify(2);
  EXPECT_TRUE(test::holds(checkpoint, state));
}

TEST_F(ReadCheckpoint, goes_on_when_its_folder_is_renamed) {
  const Checkpoint checkpoint = open();
  fs::rename(checkpoint.path(), folder_.path() / "elsewhere");
  EXPECT_TRUE(test::holds(checkpoint, state_));
}

TEST_F(ReadCheckpoint, lists_tensors_and_blobs_in_bytewise_order) {
  RawState state;
  for (const char* name : {"/b", "/a/c", "/a.b", "/\xc3\xa4", "/B"}) state.add(name, DType::int8, {1});
  state.blobs = {{"z", ""}, {"a/b", "x"}};
  const Checkpoint checkpoint = Checkpoint::open(write_raw(folder_.path(), state, 2));
  std::vector<std::string> names;
  for (const StoredTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, testing::ElementsAre("/B", "/a.b", "/a/c", "/b", "/\xc3\xa4"));
  EXPECT_THAT(checkpoint.blob_names(), testing::ElementsAre("a/b", "z"));
  EXPECT_EQ(checkpoint.blob("z"), "");
  EXPECT_EQ(checkpoint.blob("absent"), std::nullopt);
}

TEST_F(ReadCheckpoint, of_an_absent_tensor_names_it) {
  const Checkpoint checkpoint = open();
  Bytes bytes(4);
  EXPECT_EQ(checkpoint.find("/model/absent"), nullptr);
  EXPECT_THAT(checkpoint_error([&] { checkpoint.read("/model/absent", bytes); }),
              AllOf(HasSubstr("/model/absent"), HasSubstr("no such tensor")));
}

TEST_F(ReadCheckpoint, into_another_size_tells_both) {
  const Checkpoint checkpoint = open();
  for (const std::size_t size : {0U, 60U, 68U}) {
    Bytes bytes(size);
    EXPECT_THAT(checkpoint_error([&] { checkpoint.read("/model/conv1.bias", bytes); }),
                AllOf(HasSubstr("bfloat16 [32], 64 bytes"), HasSubstr("; " + std::to_string(size) + " from")));
  }
}

TEST_F(ReadCheckpoint, of_a_run_that_is_not_there_is_refused) {
  const Checkpoint checkpoint = open();
  Bytes bytes(8);
  for (const std::int64_t first : {std::int64_t{-1}, std::int64_t{29}, std::int64_t{33}, INT64_MIN, INT64_MAX}) {
    const ReadRequest request{"/model/conv1.bias", first, bytes};
    EXPECT_THAT(checkpoint_error([&] { checkpoint.read({&request, 1}); }), HasSubstr("from element")) << first;
  }
  const ReadRequest odd{"/model/conv1.bias", 0, std::span(bytes).first(3)};
  EXPECT_THAT(checkpoint_error([&] { checkpoint.read({&odd, 1}); }), HasSubstr("3 from element 0"));
}

TEST_F(ReadCheckpoint, of_nothing_names_the_path) {
  EXPECT_THAT(checkpoint_error([] { static_cast<void>(Checkpoint::open("/nonexistent/step-00000001")); }),
              AllOf(HasSubstr("/nonexistent/step-00000001"), HasSubstr("No such file or directory")));
}

TEST_F(ReadCheckpoint, verifies_one_file_at_a_time) {
  const Checkpoint checkpoint = open();
  test::flip_bit(checkpoint.path() / "rank-00001.h5", 3, 1);
  EXPECT_NO_THROW(checkpoint.verify_file(0));
  EXPECT_THAT(checkpoint_error([&] { checkpoint.verify_file(1); }), HasSubstr("rank-00001.h5"));
  EXPECT_NO_THROW(checkpoint.verify_file(2));
  EXPECT_NO_THROW(checkpoint.verify_file(3));
}

}  // namespace
}  // namespace lockstep
