// SPDX-License-Identifier: Apache-2.0
// The format and the transform that docs/data.md shows, as it shows them.
#include <gmock/gmock.h>

#include "dataloader/synthetic.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/source_options.hpp"

// docs/data.md: a format of one's own
class Lines final : public lockstep::RecordReader {  // one JSON object a line
 public:
  explicit Lines(const std::string& path) : text_(lockstep::read_file(path)) {
    for (std::size_t first = 0, end = 0; first < text_.size(); first = end + 1) {
      end = std::min(text_.find('\n', first), text_.size());
      lines_.push_back(std::as_bytes(std::span(text_).subspan(first, end - first)));
    }
    shards_ = {samples()};
  }
  std::int64_t samples() const noexcept override { return std::ssize(lines_); }
  const std::vector<std::int64_t>& shard_samples() const noexcept override { return shards_; }
  std::string fingerprint() const override { return std::to_string(std::hash<std::string>{}(text_)); }
  const std::vector<lockstep::StoredField>& fields() const noexcept override { return fields_; }
  bool checksummed() const noexcept override { return false; }
  void read(std::int64_t sample, lockstep::Record& record) const override {
    record.fields = {lines_[static_cast<std::size_t>(sample)]};
  }
  std::string describe(std::int64_t sample) const override { return "line " + std::to_string(sample + 1); }

 private:
  const std::string text_;
  std::vector<std::span<const std::byte>> lines_;
  std::vector<std::int64_t> shards_;
  const std::vector<lockstep::StoredField> fields_{{.name = "json", .encoding = "json"}};
};
// docs/data.md: end

// docs/data.md: a transform of one's own
class Noise final : public lockstep::Transform {  // adds up to ±amount to every float32 field, in place
 public:
  explicit Noise(double amount) : amount_(amount) {}
  void apply(const lockstep::SampleView& in, lockstep::SampleSlot& out, lockstep::SampleRandom& random) const override {
    for (std::size_t f = 0; f < in.fields.size(); ++f) {
      if (in.fields[f].dtype != lockstep::DType::float32 || in.fields[f].ragged()) continue;
      for (float& value : lockstep::elements_at<float>(out.fixed(f))) {
        value += static_cast<float>(amount_ * (2 * random.uniform() - 1));
      }
    }
  }

 private:
  const double amount_;
};
// docs/data.md: end

namespace lockstep {
namespace {

TEST(OwnFormat, with_an_own_transform_feeds_a_loader) {
  const TemporaryDirectory folder;
  write_text(folder / "speeds.jsonl", "{\"speed\": 10}\n{\"speed\": 20}\n{\"speed\": 30}\n");
  const SourceOptions options{
      .name = "speeds",
      .fields = {{.name = "data", .from = "json", .dtype = DType::float32, .pointer = "/speed"}},
      .transforms = {{.name = "noise", .options = {{.name = "amount", .numbers = {0.5}}}}}};
  TransformRegistry transforms;
  transforms.add("noise", [](TransformOptions& given) -> std::shared_ptr<const Transform> {
    return std::make_shared<Noise>(given.number("amount"));
  });
  const auto records = std::make_shared<const Lines>((folder / "speeds.jsonl").string());
  DataLoader loader({open_source(options, records, transforms)}, {.global_batch = 3, .shuffle = false});
  const at::Tensor first = loader.next().micro_batches[0].batch.data.clone();
  const at::Tensor second = loader.next().micro_batches[0].batch.data;
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_NEAR(first[i].item<float>(), 10.0 * static_cast<double>(i + 1), 0.5);
  EXPECT_FALSE(first.equal(second)) << "another pass draws other noise";
}

// The page shows what is compiled here.
TEST(DataPage, shows_the_code_of_this_file) {
  const std::string source = read_file(LOCKSTEP_SOURCE "/tests/dataloader/own_format_test.cpp");
  const std::string page = read_file(LOCKSTEP_SOURCE "/docs/data.md");
  int shown = 0;
  const std::string end_mark = "// docs/data.md: end\n";
  for (const std::string mark :
       {"// docs/data.md: a format of one's own\n", "// docs/data.md: a transform of one's own\n"}) {
    const auto first = source.find(mark) + mark.size();
    const std::string code = source.substr(first, source.find(end_mark, first) - first);
    EXPECT_LT(std::ranges::count(code, '\n'), 40);
    EXPECT_NE(page.find(code), std::string::npos) << "docs/data.md does not show:\n" << code;
    ++shown;
  }
  EXPECT_EQ(shown, 2);
}

}  // namespace
}  // namespace lockstep
