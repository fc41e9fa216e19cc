// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/log.hpp"

#include <gmock/gmock.h>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::TemporaryDirectory;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::ThrowsMessage;

TEST(Logger, a_line_in_the_file_has_time_level_and_prefix) {
  const TemporaryDirectory folder;
  Logger logger({.file = folder / "log", .console = false, .prefix = "rank 0/2 n07"});
  logger.warning("disk is nearly full");
  EXPECT_THAT(read_file(folder / "log"),
              MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\\.[0-9]{3} W \\[rank 0/2 n07\\] "
                           "disk is nearly full\n"));
}

TEST(Logger, the_file_takes_all_levels_and_keeps_what_it_had) {
  const TemporaryDirectory folder;
  write_file_durably(folder / "log", "before\n");
  Logger logger({.file = folder / "log", .console = false});
  logger.debug("first");
  logger.error("second");
  EXPECT_THAT(read_file(folder / "log"), MatchesRegex("before\n.* D first\n.* E second\n"));
}

TEST(Logger, the_console_marks_warnings_and_errors_and_hides_debug) {
  testing::internal::CaptureStderr();
  Logger logger({.prefix = "rank 0/2 n07"});
  logger.debug("hidden");
  logger.info("fine");
  logger.warning("odd");
  logger.error("bad");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "[rank 0/2 n07] fine\nwarning: [rank 0/2 n07] odd\nerror: [rank 0/2 n07] bad\n");
}

TEST(Logger, text_and_prefix_are_not_read_as_patterns) {
  testing::internal::CaptureStderr();
  Logger logger({.prefix = "50%v"});
  logger.info("100%n {} {0}");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "[50%v] 100%n {} {0}\n");
}

TEST(Logger, a_file_that_cannot_be_opened_is_an_error) {
  EXPECT_THAT([] { Logger({.file = "/proc/no/such/folder/log", .console = false}); },
              ThrowsMessage<IoError>(HasSubstr("/proc/no/such/folder/log")));
}

}  // namespace
}  // namespace lockstep
