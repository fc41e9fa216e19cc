// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/error.hpp"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(Error, joins_all_parts_of_its_text) {
  const Error error({.who = "rank 3/8 n07", .what = "open x", .why = "No such file", .fix = "name another"});
  EXPECT_STREQ(error.what(), "[rank 3/8 n07] open x: No such file. Fix: name another");
}

TEST(Error, leaves_out_empty_parts_and_their_punctuation) {
  EXPECT_STREQ(Error({.what = "open x"}).what(), "open x");
  EXPECT_STREQ(Error({.why = "No such file"}).what(), "No such file");
  EXPECT_STREQ(Error({.what = "open x", .fix = "name another"}).what(), "open x. Fix: name another");
  EXPECT_STREQ(Error({.fix = "name another"}).what(), "Fix: name another");
  EXPECT_STREQ(Error({.who = "rank 0/1 n01", .why = "No such file"}).what(), "[rank 0/1 n01] No such file");
}

TEST(Error, a_victim_leaves_lower_than_every_cause) {
  // srun reports the highest code of a job: a peer that only noticed the failure must not hide its cause.
  const ErrorText none;
  const auto victim = PeerDied(none, 1).exit_code();
  for (const auto cause : {UsageError(none).exit_code(), DataError(none).exit_code(), IoError(none).exit_code(),
                           CheckpointError(none).exit_code(), CommError(none).exit_code(), Error(none).exit_code()}) {
    EXPECT_LT(static_cast<int>(victim), static_cast<int>(cause));
  }
}

}  // namespace
}  // namespace lockstep
