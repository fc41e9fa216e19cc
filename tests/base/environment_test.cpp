// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/environment.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

TEST(Environment, an_empty_variable_counts_as_unset) {
  ::setenv("LOCKSTEP_TEST_VARIABLE", "", 1);
  EXPECT_EQ(environment_variable("LOCKSTEP_TEST_VARIABLE"), std::nullopt);
  ::setenv("LOCKSTEP_TEST_VARIABLE", "x", 1);
  EXPECT_EQ(environment_variable("LOCKSTEP_TEST_VARIABLE"), "x");
  ::unsetenv("LOCKSTEP_TEST_VARIABLE");
  EXPECT_EQ(environment_variable("LOCKSTEP_TEST_VARIABLE"), std::nullopt);
}

TEST(Environment, a_change_sets_or_leaves_out_a_variable_for_a_child) {
  using ::testing::Contains;
  using ::testing::Not;
  ::setenv("LOCKSTEP_TEST_A", "1", 1);
  ::setenv("LOCKSTEP_TEST_B", "1", 1);
  const auto variables = environment_with({"LOCKSTEP_TEST_A", "LOCKSTEP_TEST_B=2", "LOCKSTEP_TEST_C="});
  EXPECT_THAT(variables, Not(Contains(::testing::StartsWith("LOCKSTEP_TEST_A"))));
  EXPECT_THAT(variables, Not(Contains("LOCKSTEP_TEST_B=1")));
  EXPECT_THAT(variables, Contains("LOCKSTEP_TEST_B=2"));
  EXPECT_THAT(variables, Contains("LOCKSTEP_TEST_C="));
}

TEST(Environment, the_page_lists_every_known_variable_and_no_other) {
  std::vector<std::string> known;
  for (const auto& variable : known_environment_variables()) known.push_back(variable.name);

  std::vector<std::string> listed;
  std::istringstream page(read_file(LOCKSTEP_DOCS "/environment.md"));
  const std::string row = "| `";
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with(row)) listed.push_back(line.substr(row.size(), line.find('`', row.size()) - row.size()));
  }
  EXPECT_THAT(listed, testing::ElementsAreArray(known));
}

}  // namespace
}  // namespace lockstep
