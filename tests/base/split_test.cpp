// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/split.hpp"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(EvenSplit, parts_follow_each_other_and_cover_all) {
  for (const std::int64_t total : {0, 1, 2, 7, 63, 128}) {
    for (const std::int64_t parts : {1, 2, 3, 4, 5, 64}) {
      std::int64_t next = 0;
      for (std::int64_t index = 0; index < parts; ++index) {
        const auto part = even_split(total, parts, index);
        EXPECT_EQ(part.first, next);
        EXPECT_GE(part.size(), total / parts);
        EXPECT_LE(part.size(), total / parts + 1);
        next = part.last;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(EvenSplit, cuts_63_samples_as_the_documents_say) {
  EXPECT_EQ(even_split(63, 4, 0), (Range{0, 15}));
  EXPECT_EQ(even_split(63, 4, 3), (Range{47, 63}));
}

}  // namespace
}  // namespace lockstep
