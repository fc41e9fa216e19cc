// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct CommandLineTest : testing::Test {
  CommandLineTest() {
    list.add("seed", seed, "seed of all generators");
    list.add("train.lr", lr, "learning rate of SGD");
    list.add("data.path", path, "folder of shards");
  }
  std::string file(const std::string& name, std::string_view text) {
    write_file_durably(folder / name, text);
    return folder / name;
  }

  TemporaryDirectory folder;
  std::int64_t seed = 1;
  double lr = 0.05;
  std::string path = "data";
  OptionList list;
};

TEST_F(CommandLineTest, an_argument_wins_over_a_file_wherever_it_stands) {
  const auto config = file("a.toml", "train.lr = 0.5\ndata.path = \"from file\"");
  EXPECT_FALSE(parse_command_line(list, {"train.lr=0.25", "--config", config, "seed=3"}).help);
  EXPECT_EQ(lr, 0.25);
  EXPECT_EQ(path, "from file");
  EXPECT_EQ(seed, 3);
  EXPECT_EQ(list.find("train.lr")->origin, "command line");
  EXPECT_EQ(list.find("data.path")->origin, folder.path().string() + "/a.toml:2");
}

TEST_F(CommandLineTest, of_two_equal_keys_the_later_wins) {
  const auto first = file("a.toml", "seed = 2\ntrain.lr = 0.5");
  const auto second = file("b.toml", "train.lr = 0.25");
  parse_command_line(list, {"data.path=x", "--config", first, "--config=" + second, "data.path=y"});
  EXPECT_EQ(seed, 2);
  EXPECT_EQ(lr, 0.25);
  EXPECT_EQ(path, "y");
}

TEST_F(CommandLineTest, a_value_may_hold_an_equals_sign_or_be_empty) {
  parse_command_line(list, {"data.path=a=b"});
  EXPECT_EQ(path, "a=b");
  parse_command_line(list, {"data.path="});
  EXPECT_EQ(path, "");
}

TEST_F(CommandLineTest, help_is_told_and_nothing_else_read) {
  EXPECT_TRUE(parse_command_line(list, {"seed=3", "--help", "nonsense"}).help);
  EXPECT_EQ(seed, 1);
}

TEST_F(CommandLineTest, an_argument_without_equals_sign_is_an_error_that_shows_the_form) {
  EXPECT_THAT(
      [&] {
        parse_command_line(list, {"train.lr", "0.1"});
      },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("argument \"train.lr\""), HasSubstr("key=value"))));
}

TEST_F(CommandLineTest, an_unknown_flag_is_an_error_that_shows_the_form) {
  EXPECT_THAT([&] { parse_command_line(list, {"--train.lr=0.1"}); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("--train.lr=0.1"), HasSubstr("key=value"))));
  EXPECT_THAT([&] { parse_command_line(list, {"--config"}); }, ThrowsMessage<UsageError>(HasSubstr("--config")));
}

TEST_F(CommandLineTest, a_bad_value_is_an_error_that_names_the_argument) {
  EXPECT_THAT(
      [&] { parse_command_line(list, {"train.lr=abc"}); },
      ThrowsMessage<UsageError>("argument \"train.lr=abc\": train.lr takes a number, not abc. Fix: give a value "
                                "such as the default, 0.05"));
}

TEST_F(CommandLineTest, a_missing_file_is_a_usage_error_with_its_name) {
  EXPECT_THAT(
      [&] {
        parse_command_line(list, {"--config", "gone.toml"});
      },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("--config gone.toml"), HasSubstr("No such file"))));
}

TEST_F(CommandLineTest, help_text_is_aligned_and_grouped_and_shows_defaults) {
  lr = 0.25;  // set since: help shows the default
  EXPECT_EQ(help_text(list, "prog"), R"(usage: prog [--config FILE]... [key=value]...

Options with their defaults. A later key=value overrides an earlier one and every file.

  seed       1       seed of all generators

[train]
  train.lr   0.05    learning rate of SGD

[data]
  data.path  "data"  folder of shards
)");
}

}  // namespace
}  // namespace lockstep
