// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/config.hpp"

#include <gmock/gmock.h>

#include <limits>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct OptionListTest : testing::Test {
  OptionListTest() {
    list.add("flag", flag, "a flag");
    list.add("train.count", count, "32 bits");
    list.add("train.big", big, "64 bits");
    list.add("train.lr", lr, "a number", AtResume::may_change);
    list.add("data.path", path, "a string");
  }
  void set(std::string_view name, std::string_view text) { list.set(name, text, "command line"); }
  void expect_refused(std::string_view name, std::string_view text, std::string_view type) {
    const auto argument = "argument \"" + std::string(name) + "=" + std::string(text) + "\"";
    EXPECT_THAT([&] { set(name, text); },
                ThrowsMessage<UsageError>(AllOf(
                    HasSubstr(argument),
                    HasSubstr(std::string(name) + " takes " + std::string(type) + ", not " + std::string(text)))));
  }

  bool flag = false;
  int count = 1;
  std::int64_t big = 2;
  double lr = 0.05;
  std::string path = "data/train";
  OptionList list;
};

TEST_F(OptionListTest, keeps_the_defaults_it_was_given) {
  EXPECT_EQ(list.find("flag")->default_text, "false");
  EXPECT_EQ(list.find("train.count")->default_text, "1");
  EXPECT_EQ(list.find("train.lr")->default_text, "0.05");
  EXPECT_EQ(list.find("data.path")->default_text, "\"data/train\"");
  EXPECT_EQ(list.find("data.path")->origin, "default");
  EXPECT_EQ(list.find("data.path")->at_resume, AtResume::must_equal);
  EXPECT_EQ(list.find("train.lr")->at_resume, AtResume::may_change);
  EXPECT_EQ(list.find("gone"), nullptr);
}

TEST_F(OptionListTest, sets_each_type_from_text_and_notes_where_from) {
  set("flag", "true");
  set("train.count", "-3");
  set("train.big", "9223372036854775807");
  set("train.lr", "1e-3");
  set("data.path", "runs/a b");
  EXPECT_TRUE(flag);
  EXPECT_EQ(count, -3);
  EXPECT_EQ(big, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(lr, 1e-3);
  EXPECT_EQ(path, "runs/a b");
  EXPECT_EQ(list.find("data.path")->origin, "command line");
  EXPECT_EQ(list.find("data.path")->default_text, "\"data/train\"") << "the default is not the present value";
}

TEST_F(OptionListTest, a_number_may_be_written_without_fraction) {
  set("train.lr", "1");
  EXPECT_EQ(lr, 1.0);
}

TEST_F(OptionListTest, a_string_may_stand_in_toml_quotes_or_bare) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{{R"("a\tb")", "a\tb"},
                                                                                       {"'a\\b'", "a\\b"},
                                                                                       {"a\\b", "a\\b"},
                                                                                       {"5", "5"},
                                                                                       {"true", "true"},
                                                                                       {"\"open", "\"open"},
                                                                                       {"a#b", "a#b"},
                                                                                       {"two\nlines", "two\nlines"},
                                                                                       {"", ""}}) {
    set("data.path", text);
    EXPECT_EQ(path, expected);
  }
}

TEST_F(OptionListTest, a_value_of_another_type_is_refused_and_changes_nothing) {
  for (const auto* const text : {"1", "True", "yes", ""}) expect_refused("flag", text, "true or false");
  for (const auto* const text : {"1.5", "2147483648", "abc", "", "1 # one", "1\nflag = true"}) {
    expect_refused("train.count", text, "a whole number of 32 bits");
  }
  for (const auto* const text : {"9223372036854775808", "1.0"}) expect_refused("train.big", text, "a whole number");
  for (const auto* const text : {"abc", "\"1\"", "0,5", "[1]", "true"}) expect_refused("train.lr", text, "a number");
  EXPECT_FALSE(flag);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(big, 2);
  EXPECT_EQ(lr, 0.05);
  EXPECT_EQ(list.find("train.lr")->origin, "default");
}

TEST_F(OptionListTest, an_unknown_name_is_an_error_with_the_nearest_one) {
  EXPECT_THAT([&] { set("trian.lr", "1"); },
              ThrowsMessage<UsageError>("argument \"trian.lr=1\": there is no option trian.lr. Fix: did you mean "
                                        "train.lr?"));
  EXPECT_THAT([&] { list.set("zzzzzz", "1", "a.toml:3"); },
              ThrowsMessage<UsageError>("a.toml:3: there is no option zzzzzz. Fix: see --help for all options"));
}

TEST_F(OptionListTest, refuses_a_name_that_is_taken_as_key_or_as_table) {
  EXPECT_THAT([&] { list.add("train.lr", lr, ""); }, ThrowsMessage<UsageError>(HasSubstr("train.lr: declared twice")));
  EXPECT_THAT([&] { list.add("train", lr, ""); }, ThrowsMessage<UsageError>(HasSubstr("beside train.count")));
  EXPECT_THAT([&] { list.add("train.lr.warm", lr, ""); }, ThrowsMessage<UsageError>(HasSubstr("beside train.lr")));
  EXPECT_NO_THROW(list.add("train.lr_end", lr, ""));
}

TEST_F(OptionListTest, refuses_a_name_that_is_not_dotted_lower_case) {
  for (const auto* const name : {"", ".", "a.", ".a", "a..b", "A", "a-b", "a b", "1a", "a.1", "_a", "ä"}) {
    EXPECT_THROW(list.add(name, lr, ""), UsageError) << name;
  }
  EXPECT_NO_THROW(list.add("a1.b_2.c", lr, ""));
}

TEST_F(OptionListTest, value_text_is_toml_with_all_digits) {
  lr = 0.1 + 0.2;
  EXPECT_EQ(value_text(*list.find("train.lr")), "0.30000000000000004");
  lr = 1.0;
  EXPECT_EQ(value_text(*list.find("train.lr")), "1.0");
  path = "say \"x\"\n\\ end";
  EXPECT_EQ(value_text(*list.find("data.path")), R"("say \"x\"\n\\ end")");
}

TEST(NearestName, takes_the_smallest_edit_distance) {
  const std::vector<std::string> names{"train.epochs", "train.lr", "data.path"};
  EXPECT_EQ(nearest_name("train.epoch", names), "train.epochs");
  EXPECT_EQ(nearest_name("data.paht", names), "data.path");
  EXPECT_EQ(nearest_name("trainlr", names), "train.lr");
}

TEST(NearestName, is_empty_when_none_is_near) {
  EXPECT_EQ(nearest_name("checkpoint.keep", {"train.lr", "seed"}), "");
  EXPECT_EQ(nearest_name("seed", {}), "");
}

}  // namespace
}  // namespace lockstep
