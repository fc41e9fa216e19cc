// SPDX-License-Identifier: Apache-2.0
// Sources as a file describes them: fields, transforms, selections, windows.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "dataloader/synthetic.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// An array of float32 as NumPy stores it.
std::string npy(const std::vector<std::int64_t>& shape, const std::vector<float>& values) {
  std::string sizes;
  for (const auto size : shape) sizes += std::to_string(size) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + sizes + "), }";
  header.resize((header.size() + 10 + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() % 256);
  file += static_cast<char>(header.size() / 256);
  file += header;
  return file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

// A log a shard, of 10 frames each. Frame i: pose [i, −i], lidar of i mod 3 points, its class, and metadata.
void pack_frames(const std::filesystem::path& folder, int frames) {
  TarWriter writer(folder, {.shard_samples = 10});
  for (int i = 0; i < frames; ++i) {
    const auto x = static_cast<float>(i);
    const std::string pose = npy({2}, {x, -x});
    const std::string lidar = npy({i % 3, 2}, std::vector<float>(static_cast<std::size_t>(2 * (i % 3)), x));
    const std::string cls = std::to_string(i < frames / 4 ? 1 : 0);
    const std::string meta =
        fmt::format(R"({{"time": {}, "weather": "{}", "log": {}}})", i * 0.1, i % 2 == 0 ? "dry" : "rain", i / 15);
    const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
    const std::vector<FieldBytes> fields{
        {"pose.npy", bytes(pose)}, {"lidar.npy", bytes(lidar)}, {"cls", bytes(cls)}, {"meta.json", bytes(meta)}};
    writer.add(fmt::format("{:06}", i), fields);
  }
  (void)writer.finish();
}

class Sources : public testing::Test {
 protected:
  Sources() { pack_frames(folder_ / "drive", 40); }

  // The sources of a file whose one source has `more`.
  std::vector<Source> open(const std::string& more) const {
    write_text(folder_ / "sources.toml", "[[source]]\nname = \"drive\"\npath = \"drive\"\n" + kFields + more);
    return open_sources((folder_ / "sources.toml").string());
  }

  // The first element of `pose` of each sample: the frame's number, or those of a window.
  static std::vector<std::int64_t> frames_of(const std::vector<Source>& sources, bool shuffle = false,
                                             std::int64_t steps = 1) {
    DataLoader loader(sources, {.global_batch = sources[0].dataset->samples(), .shuffle = shuffle});
    std::vector<std::int64_t> frames;
    for (std::int64_t i = 0; i < steps; ++i) {
      const auto step = loader.next();
      const at::Tensor& pose = step.micro_batches[0].batch["pose"];
      const auto* values = pose.const_data_ptr<float>();
      for (std::int64_t j = 0; j < pose.numel(); j += 2) frames.push_back(static_cast<std::int64_t>(values[j]));
    }
    return frames;
  }

  void refuses(const std::string& more, const std::string& part) const {
    EXPECT_THAT([&] { (void)open(more); }, ThrowsMessage<Error>(HasSubstr(part))) << more;
  }

  const std::string kFields = R"(fields = [{name = "pose", from = "pose.npy"}])"
                              "\n";
  TemporaryDirectory folder_;
};

TEST_F(Sources, deliver_fields_under_their_names_ragged_ones_too) {
  write_text(folder_ / "sources.toml", R"([[source]]
name = "drive"
path = "drive"
fields = [
  {name = "lidar", from = "lidar.npy", ragged = true},
  {name = "time", from = "meta.json", pointer = "/time", dtype = "float32"},
  {name = "target", from = "cls", dtype = "int64"},
])");
  DataLoader loader(open_sources((folder_ / "sources.toml").string()), {.global_batch = 40, .shuffle = false});
  const Batch batch = loader.next().micro_batches[0].batch;
  EXPECT_THAT(batch["lidar"].sizes().vec(), ElementsAre(13 * 3, 2));
  EXPECT_FLOAT_EQ(batch["time"][7].item<float>(), 0.7F);
  EXPECT_EQ(batch.target.sum().item<int>(), 10);
}

TEST_F(Sources, of_a_folder_alone_deliver_all_that_is_stored) {
  TarWriter writer(folder_ / "plain");
  const std::string value = npy({2}, {1, 2});
  const std::vector<FieldBytes> fields{{"a.npy", std::as_bytes(std::span(value))}};
  writer.add("0", fields);
  (void)writer.finish();
  const auto sources = open_sources((folder_ / "plain").string());
  EXPECT_THAT(sources[0].dataset->fields(),
              ElementsAre(FieldInfo{.name = "a.npy", .dtype = DType::float32, .shape = {2}}));
}

TEST_F(Sources, select_by_values_then_every_nth_then_at_most_so_many) {
  EXPECT_THAT(
      frames_of(open(
          R"(select = {where = [{field = "meta.json", pointer = "/time", least = 0.95, most = 2.0}, {field = "meta.json", pointer = "/weather", any_of = ["rain"]}]})")),
      ElementsAre(11, 13, 15, 17, 19));
  EXPECT_THAT(frames_of(open(R"(select = {where = [{field = "cls", any_of = [1]}], every_nth = 3})")),
              ElementsAre(0, 3, 6, 9));
  const auto capped = frames_of(open("select = {cap = 5}"));
  EXPECT_EQ(capped.size(), 5U);
  EXPECT_TRUE(std::ranges::is_sorted(capped));
  EXPECT_EQ(frames_of(open("select = {cap = 5}")), capped);
}

TEST_F(Sources, that_select_otherwise_have_another_fingerprint) {
  EXPECT_NE(open("select = {every_nth = 2}")[0].dataset->fingerprint(), open("")[0].dataset->fingerprint());
  EXPECT_NE(open("select = {every_nth = 2}")[0].dataset->fingerprint(),
            open("select = {every_nth = 3}")[0].dataset->fingerprint());
}

TEST_F(Sources, balance_classes) {
  const auto frames = frames_of(open(R"(select = {balance = {field = "cls"}})"), true);
  EXPECT_EQ(std::ranges::count_if(frames, [](std::int64_t frame) { return frame < 10; }), 20);
}

TEST_F(Sources, give_windows_that_stay_within_their_log) {
  const auto windows = open("windows = {length = 3, step = 2, stride = 4}");
  EXPECT_EQ(windows[0].dataset->samples(), 4 * 2) << "a shard is a log: frames 0 2 4 and 4 6 8 of each ten";
  EXPECT_THAT(frames_of(windows), testing::ElementsAreArray({0,  2,  4,  4,  6,  8,  10, 12, 14, 14, 16, 18,
                                                             20, 22, 24, 24, 26, 28, 30, 32, 34, 34, 36, 38}));
  const auto by_value = open(R"(windows = {length = 10, stride = 10, log = {field = "meta.json", pointer = "/log"}})");
  EXPECT_EQ(by_value[0].dataset->samples(), 3) << "logs of 15, 15 and 10 frames";
  EXPECT_EQ(frames_of(by_value)[10], 15);
}

TEST_F(Sources, count_the_rows_of_each_frame_of_a_window) {
  write_text(folder_ / "sources.toml", R"([[source]]
name = "drive"
path = "drive"
fields = [{name = "lidar", from = "lidar.npy", ragged = true}]
windows = {length = 4}
)");
  DataLoader loader(open_sources((folder_ / "sources.toml").string()), {.global_batch = 2, .shuffle = false});
  const Batch batch = loader.next().micro_batches[0].batch;
  EXPECT_EQ(batch["lidar_rows"].sum(1)[1].item<int>(), 1 + 2 + 0 + 1);
  const auto* rows = batch["lidar_rows"].const_data_ptr<std::int64_t>();
  EXPECT_THAT(std::vector<std::int64_t>(rows, rows + 8), ElementsAre(0, 1, 2, 0, 1, 2, 0, 1));
  EXPECT_THAT(batch["lidar"].sizes().vec(), ElementsAre(3 + 4, 2));
}

TEST_F(Sources, shuffle_a_window_of_shards_at_a_time) {
  const auto frames = frames_of(open("shuffle = \"shards\"\nshuffle_window = 2"), true);
  std::map<std::int64_t, int> shards_of_first_half;
  for (std::size_t i = 0; i < 20; ++i) ++shards_of_first_half[frames[i] / 10];
  EXPECT_EQ(shards_of_first_half.size(), 2U);
  EXPECT_FALSE(std::ranges::is_sorted(frames));
}

TEST_F(Sources, refuse_what_cannot_be_and_name_file_line_and_key) {
  refuses("wieght = 2.0", "sources.toml:5: there is no source.wieght. Fix: did you mean weight?");
  refuses("weight = \"two\"", "weight is not a number");
  refuses("shuffle = \"all\"", "not one of samples, shards, none");
  refuses("select = {cap = 0}", "source \"drive\", select.cap: it is 0");
  refuses("select = {where = [{field = \"meta.json\", pointer = \"/speed\", least = 1}]}", "meta.json");
  refuses("select = {where = [{field = \"meta.json\", pointer = \"/time\", least = 1e9}]}", "none of its 40 samples");
  refuses("windows = {length = 0}", "length 0");
  refuses("windows = {length = 11}", "no samples");
  refuses("transforms = [{name = \"flop\"}]", "random_horizontal_flip");
  refuses("fields = 3", "sources.toml");
  EXPECT_THAT([&] { (void)read_sources(folder_ / "absent.toml"); }, ThrowsMessage<Error>(HasSubstr("absent.toml")));
}

TEST_F(Sources, name_the_source_the_shard_and_the_sample_of_another_schema) {
  TarWriter writer(folder_ / "mixed");
  const std::string two = npy({2}, {1, 2});
  const std::string three = npy({3}, {1, 2, 3});
  for (int i = 0; i < 5; ++i) {
    const auto& value = i == 3 ? three : two;
    const std::vector<FieldBytes> fields{{"pose.npy", std::as_bytes(std::span(value))}};
    writer.add(fmt::format("k{}", i), fields);
  }
  (void)writer.finish();
  write_text(folder_ / "sources.toml", "[[source]]\nname = \"odd\"\npath = \"mixed\"\n" + kFields);
  const auto sources = open_sources((folder_ / "sources.toml").string());
  EXPECT_THAT([&] { (void)frames_of(sources); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("source \"odd\""), HasSubstr("shard-00000.tar"), HasSubstr("k3"),
                                             HasSubstr("field \"pose\""), HasSubstr("3"))));
}

TEST_F(Sources, replace_a_damaged_sample_and_name_it) {
  const auto shard = folder_ / "drive/shard-00001.tar";
  std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(512 + 100);  // in the first member's payload
  file.put('!');
  file.close();
  DataLoader loader(open(""), {.global_batch = 40, .shuffle = false, .damaged_budget = 1});
  EXPECT_EQ(loader.next().samples, 40);
  ASSERT_EQ(loader.damaged().size(), 1U);
  EXPECT_EQ(loader.damaged()[0].sample, 10);
  EXPECT_THAT(loader.damaged()[0].why, AllOf(HasSubstr("shard-00001.tar"), HasSubstr("000010")));
}

}  // namespace
}  // namespace lockstep
