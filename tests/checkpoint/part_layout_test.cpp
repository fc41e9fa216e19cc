// SPDX-License-Identifier: Apache-2.0
#include "format/part_layout.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "checkpoint/written_parts.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/hdf5/file.hpp"

namespace lockstep {
namespace {

using testing::Each;
using testing::IsEmpty;
using Shape = std::vector<std::int64_t>;

constexpr DType kAllDTypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64,
                                DType::int32,   DType::int16,   DType::int8,    DType::uint8,    DType::boolean};

std::vector<std::vector<std::byte>> data_of(const std::vector<PartDataset>& datasets) {
  std::vector<std::vector<std::byte>> data;
  for (const PartDataset& d : datasets) data.push_back(test::elements(d.dtype, 0, test::elements_of(d.shape)));
  return data;
}

// libhdf5 finds every dataset where the layout has it, and its bytes.
void expect_readable(const std::vector<PartDataset>& datasets) {
  const PartLayout layout = lay_out_part(datasets);
  const auto data = data_of(datasets);
  const auto file = hdf5::File::open_image(test::image_of(layout, data), "image");
  EXPECT_EQ(file.datasets().size(), datasets.size());
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    SCOPED_TRACE(datasets[i].name);
    const auto info = file.dataset_info(datasets[i].name);
    EXPECT_EQ(info.dtype, datasets[i].dtype);
    EXPECT_EQ(info.shape, datasets[i].shape);
    EXPECT_EQ(info.file_offset, layout.offsets[i]);
    std::vector<std::byte> bytes(data[i].size());
    file.read_dataset(datasets[i].name, bytes);
    EXPECT_EQ(bytes, data[i]);
  }
}

std::vector<PartDataset> some_datasets(int count) {
  std::vector<PartDataset> datasets;
  for (int i = 0; i < count; ++i) {
    datasets.push_back({fmt::format("/model/layer.{}/weight", i), kAllDTypes[i % 10], {i % 7 + 1, 300}});
  }
  return datasets;
}

TEST(PartLayout, holds_every_dtype) {
  std::vector<PartDataset> datasets;
  for (const DType dtype : kAllDTypes) datasets.push_back({fmt::format("/{}", name_of(dtype)), dtype, {3, 5}});
  expect_readable(datasets);
}

TEST(PartLayout, holds_scalars_and_tensors_without_elements) {
  expect_readable({{"/scalar", DType::float32, {}},
                   {"/none", DType::int64, {0}},
                   {"/flat", DType::bfloat16, {4, 0, 3}},
                   {"/flag", DType::boolean, {}},
                   {"/one", DType::int8, {1}}});
}

TEST(PartLayout, holds_names_in_any_script_and_depth) {
  expect_readable({{"/模型/层.0/权重", DType::float32, {2, 2}},
                   {"/a b/%b/é\"'\\", DType::uint8, {3}},
                   {"/a/b/c/d/e/f/g", DType::uint8, {1}},
                   {"/a/b/c2", DType::uint8, {2}},
                   {fmt::format("/{:x>3000}", ""), DType::uint8, {2}}});
}

TEST(PartLayout, holds_an_empty_file) { expect_readable({}); }

TEST(PartLayout, is_the_same_for_the_same_datasets) {
  const auto datasets = some_datasets(500);
  const PartLayout first = lay_out_part(datasets);
  static_cast<void>(lay_out_part(some_datasets(3)));
  const PartLayout second = lay_out_part(datasets);
  EXPECT_EQ(first.offsets, second.offsets);
  const std::vector<std::vector<std::byte>> none;
  EXPECT_EQ(test::image_of(first, none), test::image_of(second, none));
}

TEST(PartLayout, aligns_large_datasets) {
  std::vector<PartDataset> datasets;
  for (int i = 0; i < 20; ++i) datasets.push_back({fmt::format("/t{}", i), DType::uint8, {65536 + 37 * i}});
  std::vector<std::uint64_t> remainders;
  for (const std::uint64_t offset : lay_out_part(datasets).offsets) remainders.push_back(offset % 64);
  EXPECT_THAT(remainders, Each(0U));
}

// Payload and metadata are copied into one image in any order.
TEST(PartLayout, keeps_metadata_and_datasets_apart) {
  const auto datasets = some_datasets(300);
  const PartLayout layout = lay_out_part(datasets);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [offset, bytes] : layout.metadata) ranges.emplace_back(offset, bytes.size());
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    ranges.emplace_back(layout.offsets[i], bytes_of(datasets[i].dtype, datasets[i].shape).value());
  }
  std::ranges::sort(ranges);
  std::uint64_t end = 0;
  for (const auto& [offset, bytes] : ranges) {
    EXPECT_GE(offset, end);
    end = offset + bytes;
  }
  EXPECT_LE(end, layout.file_bytes);
}

// A checkpoint has at most 0.5 % and 1 MiB more bytes than its tensors, over all its files.
TEST(PartLayout, adds_little) {
  std::vector<PartDataset> datasets;
  std::uint64_t payload = 0;
  for (int i = 0; i < 1000; ++i) {
    datasets.push_back({fmt::format("/optimizer/layers.{}.weight/exp_avg", i), DType::float32, {1 + i % 50, 9}});
    payload += bytes_of(DType::float32, datasets.back().shape).value();
  }
  EXPECT_LE(lay_out_part(datasets).file_bytes, payload + 1000 * 300 + 32768);
  EXPECT_LE(lay_out_part({}).file_bytes, 1024U);
}

// The file exists in memory while it is laid out, but its datasets' pages do not.
TEST(PartLayout, takes_no_memory_for_the_datasets) {
  const std::vector<PartDataset> datasets{{"/a", DType::float32, {1 << 20, 1 << 18}}, {"/b", DType::uint8, {3}}};
  const PartLayout layout = lay_out_part(datasets);
  EXPECT_GT(layout.file_bytes, std::uint64_t{1} << 40U);
  std::size_t kept = 0;
  for (const auto& range : layout.metadata) kept += range.bytes.size();
  EXPECT_LT(kept, 65536U);
}

TEST(PartLayout, refuses_names_that_exclude_each_other) {
  EXPECT_THROW(
      static_cast<void>(lay_out_part(std::vector<PartDataset>{{"/a", DType::uint8, {1}}, {"/a", DType::uint8, {1}}})),
      IoError);
  EXPECT_THROW(
      static_cast<void>(lay_out_part(std::vector<PartDataset>{{"/a", DType::uint8, {1}}, {"/a/b", DType::uint8, {1}}})),
      IoError);
  EXPECT_THAT(lay_out_part({}).offsets, IsEmpty());  // nothing of it stays behind
}

}  // namespace
}  // namespace lockstep
