// SPDX-License-Identifier: Apache-2.0
#include "lockstep/monitor/metrics_file.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::monitor {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct MetricsFileTest : testing::Test {
  test::TemporaryDirectory folder;
  std::filesystem::path path = folder / "metrics.jsonl";
};

TEST_F(MetricsFileTest, a_line_has_the_step_first_and_the_values_in_their_order) {
  MetricsFile file(path, 0);
  file.write({.step = 10, .values = {{"loss", 0.5}, {"accuracy", 0.25}}});
  EXPECT_EQ(read_file(path), "{\"step\":10,\"loss\":0.5,\"accuracy\":0.25}\n") << "before the file is closed";
}

TEST_F(MetricsFileTest, integral_values_have_no_fraction_and_others_all_their_digits) {
  MetricsFile file(path, 0);
  file.write({.step = 1, .values = {{"epoch", 3.0}, {"samples", 60000.0}, {"sum", 0.1 + 0.2}, {"tenth", 0.1}}});
  EXPECT_EQ(read_file(path), "{\"step\":1,\"epoch\":3,\"samples\":60000,\"sum\":0.30000000000000004,\"tenth\":0.1}\n");
}

TEST_F(MetricsFileTest, numbers_that_json_lacks_become_null) {
  constexpr auto kInfinity = std::numeric_limits<double>::infinity();
  MetricsFile file(path, 0);
  file.write({.step = 1, .values = {{"a", std::nan("")}, {"b", kInfinity}, {"c", -kInfinity}}});
  EXPECT_EQ(read_file(path), "{\"step\":1,\"a\":null,\"b\":null,\"c\":null}\n");
}

TEST_F(MetricsFileTest, steps_after_the_resumed_one_are_cut_off) {
  write_file_durably(path, "{\"step\":10}\n{\"step\":20}\n{\"step\":30}\n{\"step\":40}\n");
  MetricsFile file(path, 20);
  file.write({.step = 30, .values = {{"loss", 1.0}}});
  EXPECT_EQ(read_file(path), "{\"step\":10}\n{\"step\":20}\n{\"step\":30,\"loss\":1}\n");
}

TEST_F(MetricsFileTest, a_torn_last_line_is_cut_off) {
  // A killed process may leave half a line: the next one would be glued to it.
  for (const auto* const torn : {"{\"step\":2", "{\"step\":20}", "{\"st\n"}) {
    write_file_durably(path, std::string("{\"step\":10}\n") + torn);
    { const MetricsFile file(path, 100); }
    EXPECT_EQ(read_file(path), "{\"step\":10}\n") << torn;
  }
}

TEST_F(MetricsFileTest, everything_is_kept_when_nothing_is_newer) {
  write_file_durably(path, "{\"step\":10}\n{\"step\":20}\n");
  { const MetricsFile file(path, 20); }
  EXPECT_EQ(read_file(path), "{\"step\":10}\n{\"step\":20}\n");
}

TEST_F(MetricsFileTest, a_path_that_cannot_be_opened_is_an_error_with_the_reason) {
  EXPECT_THAT([&] { MetricsFile(folder / "gone/metrics.jsonl", 0); },
              ThrowsMessage<IoError>(HasSubstr("gone/metrics.jsonl: No such file or directory")));
}

TEST_F(MetricsFileTest, a_line_that_cannot_be_written_is_an_error_with_the_reason) {
  MetricsFile file(path, 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  EXPECT_THAT([&] { file.write({.step = 1, .values = {}}); }, ThrowsMessage<IoError>(HasSubstr("File too large")));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace lockstep::monitor
