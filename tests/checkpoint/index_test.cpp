// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <hdf5.h>

#include <cmath>
#include <random>

#include "checkpoint/written_parts.hpp"
#include "lockstep/hdf5/handle.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using hdf5::check;
using hdf5::Handle;
using test::Cut;
using test::SplitTensor;
using test::TemporaryDirectory;
using Shape = std::vector<std::int64_t>;

// By libhdf5's own calls, as other programs do: ours refuse data that lie in another file.
std::vector<std::byte> read_index(const std::filesystem::path& folder, const SplitTensor& tensor) {
  const auto held = hdf5::lock();
  const std::string path = folder / kIndexName;
  const Handle file(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", path), &H5Fclose);
  const Handle dataset(check(H5Dopen2(file.get(), tensor.name.c_str(), H5P_DEFAULT), "H5Dopen2", path), &H5Dclose);
  const Handle type(check(H5Dget_type(dataset.get()), "H5Dget_type", path), &H5Tclose);
  const auto count = static_cast<std::size_t>(test::elements_of(tensor.shape));
  std::vector<std::byte> bytes(count * size_of(tensor.dtype));
  check(H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dread", path);
  return bytes;
}

void expect_shows(const std::filesystem::path& folder, const SplitTensor& tensor) {
  SCOPED_TRACE(tensor.name);
  EXPECT_EQ(read_index(folder, tensor), test::elements(tensor.dtype, 0, test::elements_of(tensor.shape)));
}

// Cuts at arbitrary elements, each in an arbitrary file.
std::vector<Cut> random_cuts(std::mt19937& random, std::int64_t elements, std::size_t files) {
  std::vector<Cut> cuts;
  for (std::int64_t first = 0; first < elements;) {
    const std::int64_t most = std::max<std::int64_t>(1, elements / 2);
    const std::int64_t count = std::min(elements - first, 1 + static_cast<std::int64_t>(random() % most));
    cuts.push_back({random() % files, first, count});
    first += count;
  }
  return cuts;
}

TEST(Index, shows_a_tensor_that_one_file_holds) {
  const TemporaryDirectory folder;
  const std::vector<SplitTensor> tensors{{"/model/a", DType::float32, {3, 5}, {}}};
  test::write_parts(folder.path(), tensors, 1);
  expect_shows(folder.path(), tensors.front());
}

TEST(Index, shows_a_tensor_that_one_file_holds_in_several_runs) {
  const TemporaryDirectory folder;
  const std::vector<SplitTensor> tensors{{"/model/a", DType::float32, {3, 5}, {{0, 0, 7}, {0, 7, 8}}}};
  test::write_parts(folder.path(), tensors, 1);
  expect_shows(folder.path(), tensors.front());
}

TEST(Index, shows_tensors_cut_anywhere) {
  const TemporaryDirectory folder;
  std::mt19937 random(11);
  std::vector<SplitTensor> tensors;
  for (const Shape& shape : std::vector<Shape>{{40},
                                               {1, 1, 1},
                                               {7, 9},
                                               {9, 1},
                                               {1, 9},
                                               {3, 4, 5},
                                               {5, 1, 3, 1, 4},
                                               {2, 3, 2, 3},
                                               {1, 16, 1},
                                               {2, 2, 2, 2, 2, 2}}) {
    for (int i = 0; i < 8; ++i) {
      tensors.push_back({fmt::format("/t/{}", tensors.size()), DType::int16, shape,
                         random_cuts(random, test::elements_of(shape), 3)});
    }
  }
  test::write_parts(folder.path(), tensors, 3);
  for (const SplitTensor& tensor : tensors) expect_shows(folder.path(), tensor);
}

// libhdf5 takes %b in the name of a source for a pattern.
TEST(Index, shows_tensors_with_percent_signs_in_their_names) {
  const TemporaryDirectory folder;
  const std::vector<SplitTensor> tensors{{"/100%", DType::uint8, {4}, {}},
                                         {"/a%b/c%%d", DType::uint8, {6}, {{0, 0, 2}, {1, 2, 4}}}};
  test::write_parts(folder.path(), tensors, 2);
  for (const SplitTensor& tensor : tensors) expect_shows(folder.path(), tensor);
}

TEST(Index, shows_nan_for_what_is_missing) {
  const TemporaryDirectory folder;
  const SplitTensor tensor{"/a", DType::float32, {2, 3}, {{0, 0, 4}, {1, 4, 2}}};
  test::write_parts(folder.path(), {tensor}, 2);
  std::filesystem::remove(folder / part_name(1));
  const auto bytes = read_index(folder.path(), tensor);
  std::vector<float> values(6);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  EXPECT_EQ(values[3], 3.0F);
  EXPECT_TRUE(std::isnan(values[4]) && std::isnan(values[5]));
}

TEST(Index, shows_scalars_and_tensors_without_elements) {
  const TemporaryDirectory folder;
  const std::vector<SplitTensor> tensors{{"/scalar", DType::float32, {}, {{1, 0, 1}}},
                                         {"/none", DType::float32, {3, 0, 2}, {}}};
  test::write_parts(folder.path(), tensors, 2);
  for (const SplitTensor& tensor : tensors) expect_shows(folder.path(), tensor);
}

TEST(Index, is_the_same_for_the_same_pieces) {
  const TemporaryDirectory folder;
  std::mt19937 random(5);
  std::vector<SplitTensor> tensors;
  for (int i = 0; i < 200; ++i) {
    tensors.push_back({fmt::format("/m/{}", i), DType::float32, {4, 9}, random_cuts(random, 36, 3)});
  }
  const Manifest manifest = test::write_parts(folder.path(), tensors, 3);
  EXPECT_EQ(index_file(manifest), index_file(manifest));
}

TEST(Index, is_kept_while_pieces_stay_where_they_are) {
  const TemporaryDirectory folder;
  Manifest manifest = test::write_parts(folder.path(), {{"/a", DType::float32, {2, 3}, {{0, 0, 4}, {1, 4, 2}}}}, 2);
  KeptIndex index;
  const std::byte* const first = index.of(manifest).data();
  manifest.tensors[0].pieces[0].crc = 5;
  EXPECT_EQ(index.of(manifest).data(), first);
  manifest.files[1].name = "other.h5";
  EXPECT_EQ(index.of(manifest), index_file(manifest));
  std::swap(manifest.tensors[0].pieces[0].file, manifest.tensors[0].pieces[1].file);
  EXPECT_EQ(index.of(manifest), index_file(manifest));
}

}  // namespace
}  // namespace lockstep
