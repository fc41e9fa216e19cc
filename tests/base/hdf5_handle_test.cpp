// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <hdf5.h>

#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/hdf5/handle.hpp"

namespace lockstep::hdf5 {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

Handle new_handle() { return {check(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", "test"), &H5Pclose}; }
bool is_open(Id id) { return H5Iis_valid(id) > 0; }

TEST(Handle, closes_what_it_owns_once) {
  const auto held = lock();
  Id id = -1;
  {
    const auto handle = new_handle();
    id = handle.get();
    EXPECT_TRUE(is_open(id));
  }
  EXPECT_FALSE(is_open(id));
}

TEST(Handle, move_hands_over_and_closes_what_was_there) {
  const auto held = lock();
  auto first = new_handle();
  auto second = new_handle();
  const auto first_id = first.get();
  const auto second_id = second.get();
  first = std::move(second);
  EXPECT_FALSE(is_open(first_id));
  EXPECT_EQ(first.get(), second_id);
  const Handle third(std::move(first));
  EXPECT_TRUE(is_open(second_id));
}

TEST(Handle, close_twice_is_fine) {
  auto handle = new_handle();
  const auto id = handle.get();
  handle.close();
  handle.close();
  EXPECT_FALSE(is_open(id));
}

TEST(Check, gives_the_call_its_subject_and_the_error_stack) {
  const auto held = lock();
  EXPECT_THAT([] { check(H5Fopen("/no/such/file", H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", "/no/such/file"); },
              ThrowsMessage<IoError>(AllOf(HasSubstr("H5Fopen /no/such/file: "), HasSubstr("unable to open file"),
                                           HasSubstr("No such file or directory"))));
}

TEST(Check, each_error_tells_only_its_own_stack) {
  const auto held = lock();
  EXPECT_THROW(check(H5Fopen("/first", H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", "/first"), IoError);
  EXPECT_THAT([] { check(H5Fopen("/second", H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", "/second"); },
              ThrowsMessage<IoError>(testing::Not(HasSubstr("/first"))));
}

TEST(Lock, nothing_is_printed_by_hdf5_on_any_thread) {
  // The error stack, and whether it prints itself, belong to the thread.
  testing::internal::CaptureStderr();
  std::thread([] {
    const auto held = lock();
    EXPECT_THROW(check(H5Fopen("/gone", H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", "/gone"), IoError);
  }).join();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace lockstep::hdf5
