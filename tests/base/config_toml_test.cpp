// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Options {
  Options() {
    list.add("train.lr", lr, "learning rate\nof SGD");
    list.add("seed", seed, "");
    list.add("data.path", path, "folder of shards");
    list.add("train.epochs", epochs, "passes over the data");
    list.add("train.warm.steps", warm_steps, "steps");
    list.add("log.quiet", quiet, "no bar");
  }
  double lr = 0.05;
  std::int64_t seed = 1;
  std::string path = "data";
  int epochs = 2;
  int warm_steps = 0;
  bool quiet = false;
  OptionList list;
};

TEST(ApplyToml, tables_become_dotted_names_with_their_line) {
  Options options;
  apply_toml(options.list, "seed = 7\n\n[train]\nlr = 1\nwarm.steps = 5\n[data]\npath = 'a b'\n", "train.toml");
  EXPECT_EQ(options.seed, 7);
  EXPECT_EQ(options.lr, 1.0);
  EXPECT_EQ(options.warm_steps, 5);
  EXPECT_EQ(options.path, "a b");
  EXPECT_EQ(options.list.find("train.lr")->origin, "train.toml:4");
  EXPECT_EQ(options.list.find("train.epochs")->origin, "default");
}

TEST(ApplyToml, dotted_keys_name_the_same_options) {
  Options options;
  apply_toml(options.list, "train.lr = 0.5\ntrain.epochs = 9\n", "train.toml");
  EXPECT_EQ(options.lr, 0.5);
  EXPECT_EQ(options.epochs, 9);
}

TEST(ApplyToml, a_value_of_another_type_is_an_error_with_its_line) {
  Options options;
  EXPECT_THAT([&] { apply_toml(options.list, "[train]\nlr = \"abc\"", "train.toml"); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("train.toml:2"), HasSubstr("train.lr takes a number, not"),
                                              HasSubstr("abc"), HasSubstr("0.05"))));
  EXPECT_THAT([&] { apply_toml(options.list, "\n\ndata.path = 5", "train.toml"); },
              ThrowsMessage<UsageError>(HasSubstr("train.toml:3: data.path takes a string, not 5")));
  EXPECT_THAT([&] { apply_toml(options.list, "train.epochs = [1, 2]", "train.toml"); },
              ThrowsMessage<UsageError>(HasSubstr("train.epochs takes a whole number of 32 bits, not [")));
}

TEST(ApplyToml, an_unknown_key_is_an_error_with_its_line_and_the_nearest_name) {
  Options options;
  EXPECT_THAT([&] { apply_toml(options.list, "[train]\n# a comment\nepoch = 3", "train.toml"); },
              ThrowsMessage<UsageError>("train.toml:3: there is no option train.epoch. Fix: did you mean "
                                        "train.epochs?"));
}

TEST(ApplyToml, text_that_is_no_toml_is_an_error_with_its_line) {
  Options options;
  EXPECT_THAT([&] { apply_toml(options.list, "seed = 1\ntrain.lr = = 2", "train.toml"); },
              ThrowsMessage<UsageError>(HasSubstr("train.toml:2: ")));
}

TEST(ToToml, groups_by_table_in_order_of_declaration_with_help_above) {
  const Options options;
  EXPECT_EQ(to_toml(options.list), R"(seed = 1

[train]
# learning rate
# of SGD
lr = 0.05
# passes over the data
epochs = 2

[data]
# folder of shards
path = "data"

[train.warm]
# steps
steps = 0

[log]
# no bar
quiet = false
)");
}

TEST(ToToml, apply_toml_reads_back_every_value) {
  Options written;
  written.lr = 0.1 + 0.2;
  written.seed = -9'000'000'000;
  written.path = "C:\\x \"quoted\" 'too'\n\ttab # no comment \x01 \xc3\xa4";
  written.epochs = 2'000'000'000;
  written.quiet = true;
  Options read;
  apply_toml(read.list, to_toml(written.list), "written.toml");
  EXPECT_EQ(read.lr, written.lr);
  EXPECT_EQ(read.seed, written.seed);
  EXPECT_EQ(read.path, written.path);
  EXPECT_EQ(read.epochs, written.epochs);
  EXPECT_EQ(read.quiet, written.quiet);
}

TEST(ToToml, numbers_read_back_bit_for_bit) {
  for (const double lr : {1e-300, 5e-324, 1e22, 123456789.0, 1.0 / 3.0, -0.0, 1e15, 1e16, 1e17}) {
    Options written;
    written.lr = lr;
    Options read;
    apply_toml(read.list, to_toml(written.list), "written.toml");
    EXPECT_EQ(read.lr, lr) << to_toml(written.list);
  }
}

}  // namespace
}  // namespace lockstep
