// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/dtype.hpp"

#include <gmock/gmock.h>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(DType, values_names_and_sizes_are_those_of_the_file_formats) {
  // Files store the value and the name: a change here makes old checkpoints unreadable.
  const struct {
    int value;
    const char* name;
    std::size_t bytes;
    bool floating;
  } expected[] = {{0, "float64", 8, true}, {1, "float32", 4, true}, {2, "float16", 2, true}, {3, "bfloat16", 2, true},
                  {4, "int64", 8, false},  {5, "int32", 4, false},  {6, "int16", 2, false},  {7, "int8", 1, false},
                  {8, "uint8", 1, false},  {9, "bool", 1, false}};
  for (const auto& row : expected) {
    const auto dtype = static_cast<DType>(row.value);
    EXPECT_EQ(name_of(dtype), row.name);
    EXPECT_EQ(size_of(dtype), row.bytes) << row.name;
    EXPECT_EQ(is_floating(dtype), row.floating) << row.name;
    EXPECT_EQ(dtype_from_name(row.name), dtype) << row.name;
  }
}

TEST(DType, an_unknown_name_is_an_error_that_lists_the_names) {
  EXPECT_THAT([] { static_cast<void>(dtype_from_name("float")); },
              ThrowsMessage<UsageError>(HasSubstr("use one of float64, float32, float16, bfloat16, int64")));
}

}  // namespace
}  // namespace lockstep
