// SPDX-License-Identifier: Apache-2.0
// A checkpoint of every schema version there was loads for ever (golden/README.md).
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "checkpoint/raw_checkpoint.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

const std::filesystem::path kGolden(LOCKSTEP_GOLDEN);

const json& contents() {
  static const json kContents = json::parse(test::read_text(kGolden / "contents.json"));
  return kContents;
}

test::Bytes from_hex(const std::string& digits) {
  test::Bytes bytes(digits.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    unsigned value = 0;
    std::from_chars(digits.data() + 2 * i, digits.data() + 2 * i + 2, value, 16);
    bytes[i] = static_cast<std::byte>(value);
  }
  return bytes;
}

test::RawTensor tensor_of(const json& object) {
  return {object.at("name"), dtype_from_name(object.at("dtype").get<std::string>()),
          object.at("shape").get<std::vector<std::int64_t>>(), from_hex(object.at("bytes"))};
}

class Golden : public testing::TestWithParam<const char*> {
 protected:
  Golden() : checkpoint_(find_checkpoint(kGolden / GetParam()).newest_good.value()) {}
  Checkpoint checkpoint_;
};

TEST_P(Golden, checkpoint_has_every_bit_of_every_tensor) {
  ASSERT_EQ(checkpoint_.tensors().size(), contents().at("tensors").size());
  for (const json& object : contents().at("tensors")) {
    const test::RawTensor tensor = tensor_of(object);
    const StoredTensor* stored = checkpoint_.find(tensor.name);
    ASSERT_NE(stored, nullptr) << tensor.name;
    EXPECT_EQ(stored->dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(stored->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(test::read_tensor(checkpoint_, tensor), tensor.bytes) << tensor.name;
  }
}

TEST_P(Golden, checkpoint_gives_any_run_of_elements) {
  for (const json& object : contents().at("tensors")) {
    const test::RawTensor tensor = tensor_of(object);
    const auto size = static_cast<std::ptrdiff_t>(size_of(tensor.dtype));
    for (std::int64_t first = 0; first < tensor.elements(); ++first) {
      test::Bytes run(tensor.bytes.begin() + first * size, tensor.bytes.end());
      const test::Bytes wanted = std::exchange(run, test::Bytes(run.size()));
      const ReadRequest request{tensor.name, first, run};
      checkpoint_.read({&request, 1});
      EXPECT_EQ(run, wanted) << tensor.name << " from " << first;
    }
  }
}

TEST_P(Golden, checkpoint_has_its_texts_and_numbers) {
  EXPECT_EQ(checkpoint_.step(), contents().at("step"));
  EXPECT_EQ(checkpoint_.world_size(), contents().at("world_size"));
  EXPECT_EQ(checkpoint_.seed(), contents().at("seed"));
  const json& determinism = contents().at("determinism");
  EXPECT_EQ(checkpoint_.determinism(),
            (DeterminismRecord{determinism.at("micro_batches"), determinism.at("intra_op_threads"),
                               determinism.at("libtorch"), determinism.at("cpu_capability")}));
  EXPECT_EQ(checkpoint_.blob_names().size(), contents().at("blobs").size());
  for (const auto& [name, text] : contents().at("blobs").items()) EXPECT_EQ(checkpoint_.blob(name), text) << name;
}

INSTANTIATE_TEST_SUITE_P(All, Golden, testing::Values("v1", "v2"),
                         test::case_name<testing::TestParamInfo<const char*>>);

TEST(GoldenMetrics, are_there_from_version_2_on) {
  const auto metrics = [](const char* version) { return find_checkpoint(kGolden / version).newest_good->metrics(); };
  EXPECT_THAT(metrics("v1"), testing::IsEmpty());
  std::vector<std::pair<std::string, double>> wanted;
  for (const auto& [name, value] : contents().at("metrics").items()) wanted.emplace_back(name, value);
  EXPECT_EQ(metrics("v2"), wanted);
}

// The newest version has one, or the next release could not prove that it still reads it.
TEST(GoldenFiles, are_there_for_every_version) {
  EXPECT_TRUE(std::filesystem::exists(kGolden / fmt::format("v{}", kSchemaVersion)));
  EXPECT_EQ(kSchemaVersion, 2U) << "add the new version to Golden, too";
}

}  // namespace
}  // namespace lockstep
