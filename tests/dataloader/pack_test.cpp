// SPDX-License-Identifier: Apache-2.0
// What is packed is read back, and nothing is left of what could not be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <random>

#include "dataloader/synthetic.hpp"
#include "dataloader/tar_maker.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/sample.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::unique_ptr<const RecordReader> open(const std::filesystem::path& folder) {
  return open_records(open_store(folder.string()));
}

// Numbers as they are in memory.
class Numbers final : public RecordReader {
 public:
  Numbers(std::int64_t samples, std::vector<StoredField> fields)
      : samples_(samples), shard_samples_{samples}, fields_(std::move(fields)) {}
  [[nodiscard]] std::int64_t samples() const noexcept override { return samples_; }
  [[nodiscard]] const std::vector<std::int64_t>& shard_samples() const noexcept override { return shard_samples_; }
  [[nodiscard]] std::string fingerprint() const override { return "0"; }
  [[nodiscard]] const std::vector<StoredField>& fields() const noexcept override { return fields_; }
  void read(std::int64_t sample, Record& record) const override {
    if (sample == damaged) throw DamagedSample({.what = describe(sample), .why = "for the test"});
    record.buffer.assign(64, static_cast<std::byte>(sample));
    record.fields.clear();
    for (const auto& field : fields_) {
      const FieldInfo info{.name = {}, .dtype = field.dtype, .shape = field.shape};
      record.fields.push_back(std::span(record.buffer).first(info.row_bytes() * (info.ragged() ? 2 : 1)));
    }
  }
  [[nodiscard]] std::string describe(std::int64_t sample) const override { return "sample " + std::to_string(sample); }
  std::int64_t damaged = -1;

 private:
  const std::int64_t samples_;
  const std::vector<std::int64_t> shard_samples_;
  const std::vector<StoredField> fields_;
};

struct Updates final : PackProgress {
  void update(std::int64_t done, std::int64_t samples) override { calls.emplace_back(done, samples); }
  std::vector<std::pair<std::int64_t, std::int64_t>> calls;
};

class Pack : public testing::Test {
 protected:
  static void add(TarWriter& writer, std::string_view key, std::string_view image, std::string_view label) {
    writer.add(key, std::vector<FieldBytes>{{"jpg", bytes_of(image)}, {"cls", bytes_of(label)}});
  }
  void refuses(std::string_view key, const std::vector<FieldBytes>& fields, const std::string& part) const {
    TarWriter writer(folder_);
    add(writer, "before", "x", "1");
    EXPECT_THAT([&] { writer.add(key, fields); },
                ThrowsMessage<UsageError>(AllOf(HasSubstr("sample 1"), HasSubstr(part))));
    add(writer, "after", "x", "1");  // a refused sample changes nothing
  }
  TemporaryDirectory temporary_;
  const std::filesystem::path folder_ = temporary_ / "packed";
};

TEST_F(Pack, what_was_written_is_read) {
  TarWriter writer(folder_);
  add(writer, "drive_1.0/000", "picture", "3");
  add(writer, std::string(400, 'k'), "", "4");
  const auto counts = writer.finish();
  EXPECT_EQ(counts.samples, 2);
  EXPECT_EQ(counts.shards, 1);
  EXPECT_EQ(counts.bytes, std::filesystem::file_size(folder_ / "shard-00000.tar"));
  const auto reader = open(folder_);
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("picture", "3"));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("", "4"));
  EXPECT_EQ(reader->describe(0), "shard-00000.tar, sample 0 (key drive_1.0/000)");
  EXPECT_EQ(reader->describe(1), "shard-00000.tar, sample 1 (key " + std::string(400, 'k') + ")");
}

TEST_F(Pack, the_same_samples_are_the_same_bytes) {
  for (const auto* name : {"a", "b"}) {
    TarWriter writer(temporary_ / name);
    add(writer, "1", "picture", "3");
    writer.finish();
  }
  EXPECT_EQ(read_file(temporary_ / "a/shard-00000.tar"), read_file(temporary_ / "b/shard-00000.tar"));
}

TEST_F(Pack, a_shard_ends_before_it_has_too_many_bytes_or_samples) {
  TarWriter by_samples(temporary_ / "samples", {.shard_samples = 2});
  TarWriter by_bytes(temporary_ / "bytes", {.shard_bytes = 20'000});
  for (int i = 0; i < 5; ++i) {
    add(by_samples, std::to_string(i), std::string(5000, 'x'), "1");
    add(by_bytes, std::to_string(i), std::string(5000, 'x'), "1");
  }
  by_samples.finish();
  by_bytes.finish();
  EXPECT_THAT(open(temporary_ / "samples")->shard_samples(), ElementsAre(2, 2, 1));
  EXPECT_THAT(open(temporary_ / "bytes")->shard_samples(), ElementsAre(2, 2, 1));
  EXPECT_LE(std::filesystem::file_size(temporary_ / "bytes/shard-00000.tar"), 20'000U);
}

TEST_F(Pack, a_sample_larger_than_a_shard_has_one_alone) {
  TarWriter writer(folder_, {.shard_bytes = 1});
  add(writer, "1", "a", "b");
  add(writer, "2", "c", "d");
  EXPECT_EQ(writer.finish().shards, 2);
}

TEST_F(Pack, compressed_fields_are_read_as_they_were) {
  std::string random(100'000, '\0');
  std::mt19937 generator(3);
  for (auto& c : random) c = static_cast<char>(generator());
  const std::string zeros(300'000, '\0');
  for (const auto compression : {Compression::zstd, Compression::lz4}) {
    const auto folder = temporary_ / std::to_string(static_cast<int>(compression));
    TarWriter writer(folder, {.compression = compression});
    for (const auto* key : {"1", "2"}) {
      writer.add(key,
                 std::vector<FieldBytes>{
                     {"jpg", bytes_of(zeros)}, {"a.npy", bytes_of(zeros)}, {"b.npy", bytes_of(random)}, {"txt", {}}});
    }
    EXPECT_LT(writer.finish().bytes, 2 * 500'000U);
    const auto reader = open(folder);
    EXPECT_THAT(names_of(reader->fields()), ElementsAre("jpg", "a.npy", "b.npy", "txt"));
    EXPECT_EQ(read_texts(*reader, 1), (std::vector<std::string>{zeros, zeros, random, ""}));
  }
}

TEST_F(Pack, damage_of_compressed_fields_is_noticed_without_an_index) {
  for (const auto compression : {Compression::zstd, Compression::lz4}) {
    const auto folder = temporary_ / std::to_string(static_cast<int>(compression));
    TarWriter writer(folder, {.compression = compression});
    const std::string text = "one text, two texts, three texts, four texts, five texts";
    writer.add("1", std::vector<FieldBytes>{{"txt", bytes_of(text)}});
    writer.finish();
    std::filesystem::remove(folder / "shard-00000.tar.index");
    const auto whole = read_file(folder / "shard-00000.tar");
    const auto size = std::stoul(whole.substr(124, 11), nullptr, 8);
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      auto bytes = whole;
      bytes[512 + bit / 8] ^= static_cast<char>(1U << bit % 8);
      write_text(folder / "shard-00000.tar", bytes);
      try {  // a few bits of a frame's header say nothing about its content
        EXPECT_THAT(read_texts(*open(folder), 0), ElementsAre(text));
      } catch (const DamagedSample& error) {
        EXPECT_THAT(error.what(), HasSubstr("shard-00000.tar, sample 0 (key 1), field \"txt\""));
      }
    }
  }
}

TEST_F(Pack, what_could_not_be_read_back_is_refused) {
  const auto x = bytes_of("x");
  refuses("before", {{"jpg", x}}, "sample before has this key");
  refuses("a", {}, "no field");
  refuses("a.b", {{"jpg", x}}, "could not be read back");
  refuses("", {{"jpg", x}}, "could not be read back");
  refuses("dir/", {{"jpg", x}}, "could not be read back");
  refuses("__a__/b", {{"jpg", x}}, "could not be read back");
  refuses("a", {{"", x}}, "could not be read back");
  refuses("a", {{"JPG", x}}, "could not be read back");
  refuses("a", {{"b/jpg", x}}, "could not be read back");
  refuses("a", {{"npy.zst", x}}, "could not be read back");
  refuses("a", {{"jpg", x}, {"jpg", x}}, "twice");
  EXPECT_THROW(TarWriter(folder_).add(std::string_view("a\0b", 3), std::vector<FieldBytes>{{"jpg", x}}), UsageError);
}

TEST_F(Pack, leaves_nothing_without_finish) {
  {
    TarWriter writer(folder_);
    add(writer, "1", "a", "b");
  }
  EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
}

TEST_F(Pack, refuses_a_folder_that_exists) {
  std::filesystem::create_directory(folder_);
  EXPECT_THAT([this] { TarWriter writer(folder_); }, ThrowsMessage<UsageError>(HasSubstr("it exists")));
}

TEST_F(Pack, refuses_to_finish_twice_or_without_a_sample) {
  TarWriter writer(folder_);
  add(writer, "1", "a", "b");
  writer.finish();
  EXPECT_THROW(add(writer, "2", "a", "b"), UsageError);
  EXPECT_THROW(writer.finish(), UsageError);
  EXPECT_THROW(TarWriter(temporary_ / "empty").finish(), UsageError);
}

TEST_F(Pack, leaves_nothing_behind_when_the_disk_is_full) {
  // A limit on the size of files stands for the full disk.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 8192, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(
      {
        TarWriter writer(folder_);
        add(writer, "1", std::string(100'000, 'x'), "b");
        writer.finish();
      },
      IoError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
}

TEST_F(Pack, tar_takes_any_format) {
  const Numbers numbers(3, {{.name = "points", .encoding = "raw", .dtype = DType::float32, .shape = {-1, 2}},
                            {.name = "speed", .encoding = "raw", .dtype = DType::int16},
                            {.name = "label", .encoding = "json"},
                            {.name = "cam.jpg", .encoding = "jpg"}});
  Updates updates;
  EXPECT_EQ(pack_tar(numbers, folder_, {}, &updates).samples, 3);
  EXPECT_THAT(updates.calls, ElementsAre(std::pair<std::int64_t, std::int64_t>(3, 3)));
  const auto reader = open(folder_);
  EXPECT_THAT(names_of(reader->fields()), ElementsAre("points.npy", "speed.npy", "label.json", "cam.jpg"));
  const auto texts = read_texts(*reader, 2);
  EXPECT_THAT(texts[0], AllOf(HasSubstr("'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }")));
  EXPECT_EQ(texts[0].size(), 128U + 16U);
  EXPECT_THAT(texts[1], HasSubstr("'descr': '<i2', 'fortran_order': False, 'shape': (), }"));
  EXPECT_EQ(texts[1].substr(128), "\2\2");
  EXPECT_THAT(
      [&] { pack_tar(Numbers(1, {{.name = "x", .encoding = "raw", .dtype = DType::bfloat16}}), temporary_ / "b"); },
      ThrowsMessage<UsageError>(HasSubstr("npy cannot hold bfloat16")));
}

TEST_F(Pack, hdf5_shards_hold_the_numbers_of_any_format) {
  const Numbers numbers(10, {{.name = "data", .encoding = "raw", .dtype = DType::uint8, .shape = {2, 2}},
                             {.name = "target", .encoding = "raw", .dtype = DType::int64}});
  const auto counts = pack_hdf5(numbers, folder_, 3);
  EXPECT_EQ(counts.samples, 10);
  EXPECT_EQ(counts.shards, 3);
  std::array<float, 4> data{};
  std::int64_t target = 0;
  SampleSlot slot({std::as_writable_bytes(std::span(data)), std::as_writable_bytes(std::span(&target, 1))},
                  {nullptr, nullptr});
  open_dataset(folder_)->read({.sample = 7}, slot);
  EXPECT_EQ(data[3], 7);
  EXPECT_EQ(target, 0x0707070707070707);
}

TEST_F(Pack, hdf5_refuses_what_has_no_fixed_size) {
  const auto refuses_field = [&](const StoredField& field, const std::string& part) {
    EXPECT_THAT([&] { pack_hdf5(Numbers(1, {field}), folder_, 1); }, ThrowsMessage<UsageError>(HasSubstr(part)));
    EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
  };
  refuses_field({.name = "cam", .encoding = "jpg"}, "it is stored as jpg");
  refuses_field({.name = "points", .encoding = "raw", .shape = {-1, 3}}, "differs from sample to sample");
  refuses_field({.name = "half", .encoding = "raw", .dtype = DType::float16}, "cannot be delivered");
}

TEST_F(Pack, is_left_by_the_first_damaged_sample) {
  Numbers numbers(3, {{.name = "data", .encoding = "raw"}});
  numbers.damaged = 1;
  EXPECT_THROW(pack_tar(numbers, folder_), DamagedSample);
  EXPECT_THROW(pack_hdf5(numbers, folder_, 1), DamagedSample);
  EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
}

TEST_F(Pack, verify_names_the_damaged_samples) {
  Numbers numbers(2500, {{.name = "data", .encoding = "raw", .shape = {4}}});
  numbers.damaged = 17;
  Updates updates;
  const auto report = verify(numbers, &updates);
  EXPECT_EQ(report.samples, 2500);
  EXPECT_EQ(report.bytes, 2499U * 4U);
  EXPECT_EQ(report.damaged, 1);
  ASSERT_EQ(report.first.size(), 1U);
  EXPECT_EQ(report.first[0].sample, 17);
  EXPECT_EQ(report.first[0].description, "sample 17");
  EXPECT_EQ(report.first[0].why, "for the test");
  EXPECT_EQ(updates.calls.size(), 3U);
  EXPECT_THAT(verify(Numbers(5, {{.name = "data", .encoding = "raw"}})).first, IsEmpty());
}

}  // namespace
}  // namespace lockstep
