// SPDX-License-Identifier: Apache-2.0
// Writes the HDF5 files of a checkpoint into the folder that is its argument; index_h5py_test.py looks at them.
#include <cstdio>

#include "checkpoint/written_parts.hpp"
#include "lockstep/base/error.hpp"

int main(int count, char** arguments) {
  using namespace lockstep;
  if (count != 2) {
    std::fputs("usage: index_program FOLDER\n", stderr);
    return 2;
  }
  std::vector<test::SplitTensor> tensors;
  for (const DType dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64, DType::int32,
                            DType::int16, DType::int8, DType::uint8, DType::boolean}) {
    const std::string name(name_of(dtype));
    tensors.push_back({"/whole/" + name, dtype, {7, 11}, {}});
    tensors.push_back({"/split/" + name, dtype, {4, 5, 6}, {{0, 0, 37}, {2, 37, 1}, {1, 38, 50}, {0, 88, 32}}});
    tensors.push_back({"/scalar/" + name, dtype, {}, {{1, 0, 1}}});
    tensors.push_back({"/empty/" + name, dtype, {3, 0}, {}});
  }
  tensors.push_back({"/large", DType::float32, {300, 101}, {{2, 0, 12345}, {1, 12345, 17955}}});
  tensors.push_back({"/模型/层.0/权重", DType::float32, {2, 2}, {}});
  try {
    test::write_parts(arguments[1], std::move(tensors), 3);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
