// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/load.hpp"
#include "lockstep/checkpoint/reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/raw_checkpoint.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::Bytes;
using test::checkpoint_error;
using test::RawState;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A program whose tensors are those of the checkpoint, until a test changes it.
class LoadTensors : public testing::Test {
 protected:
  LoadTensors() {
    state_.add("/model/encoder.w", DType::float32, {4, 3});
    state_.add("/model/encoder.b", DType::float32, {4});
    state_.add("/model/head.w", DType::bfloat16, {10, 4});
    state_.add("/optimizer/m", DType::float32, {16});
    checkpoint_.emplace(Checkpoint::open(test::write_raw(folder_.path(), state_, 2)));
    for (const auto& [name, tensor] : state_.tensors) want(name, tensor.dtype, tensor.shape);
  }

  LoadTarget& want(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape) {
    Bytes& bytes = memory_[name];
    bytes.resize(*bytes_of(dtype, shape));
    const auto elements = static_cast<std::int64_t>(bytes.size() / size_of(dtype));
    return targets_.emplace_back(LoadTarget{name, dtype, shape, 0, elements, bytes.data()});
  }
  void forget(const std::string& name) {
    std::erase_if(targets_, [&](const LoadTarget& target) { return target.name == name; });
  }
  [[nodiscard]] LoadReport load(const LoadOptions& options = {}) const {
    return load_tensors(*checkpoint_, targets_, options);
  }
  [[nodiscard]] std::string load_error(const LoadOptions& options = {}) const {
    return checkpoint_error([&] { static_cast<void>(load(options)); });
  }
  [[nodiscard]] bool has(const std::string& name, const std::string& stored) const {
    return memory_.at(name) == state_.tensors.at(stored).bytes;
  }

  test::TemporaryDirectory folder_;
  RawState state_;
  std::optional<Checkpoint> checkpoint_;
  std::map<std::string, Bytes> memory_;
  std::vector<LoadTarget> targets_;
};

TEST_F(LoadTensors, loads_all_and_reports_it) {
  const LoadReport report = load({.threads = 2});
  EXPECT_THAT(report.loaded, ElementsAre("/model/encoder.b", "/model/encoder.w", "/model/head.w", "/optimizer/m"));
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_THAT(report.unexpected, IsEmpty());
  EXPECT_THAT(report.mismatched, IsEmpty());
  for (const auto& [name, bytes] : memory_) EXPECT_TRUE(has(name, name)) << name;
}

TEST_F(LoadTensors, loads_runs_of_a_tensor_and_names_it_once) {
  forget("/optimizer/m");
  Bytes& bytes = memory_["/optimizer/m"];
  targets_.push_back({"/optimizer/m", DType::float32, {16}, 8, 8, bytes.data() + 32});
  targets_.push_back({"/optimizer/m", DType::float32, {16}, 0, 8, bytes.data()});
  const LoadReport report = load();
  EXPECT_EQ(std::ranges::count(report.loaded, "/optimizer/m"), 1);
  EXPECT_TRUE(has("/optimizer/m", "/optimizer/m"));
}

TEST_F(LoadTensors, include_takes_what_matches_and_expects_nothing_else) {
  const LoadReport report = load({.include = {"/model/enc*", "*.nothing"}});
  EXPECT_THAT(report.loaded, ElementsAre("/model/encoder.b", "/model/encoder.w"));
  EXPECT_THAT(report.unexpected, IsEmpty());
  EXPECT_FALSE(has("/model/head.w", "/model/head.w"));
}

TEST_F(LoadTensors, a_star_goes_over_slashes_and_a_question_mark_is_one_character) {
  EXPECT_THAT(load({.include = {"*.?"}}).loaded, ElementsAre("/model/encoder.b", "/model/encoder.w", "/model/head.w"));
}

TEST_F(LoadTensors, exclude_wins_over_include) {
  EXPECT_THAT(load({.include = {"/model/*"}, .exclude = {"*head*"}}).loaded,
              ElementsAre("/model/encoder.b", "/model/encoder.w"));
}

TEST_F(LoadTensors, what_is_excluded_need_not_be_there_nor_fit) {
  forget("/model/head.w");
  want("/model/head.w", DType::float32, {2});
  forget("/optimizer/m");
  want("/model/new", DType::float32, {2});
  const LoadReport report = load({.exclude = {"/model/head*", "/model/new", "/optimizer/*"}});
  EXPECT_THAT(report.loaded, ElementsAre("/model/encoder.b", "/model/encoder.w"));
}

TEST_F(LoadTensors, renames_the_beginning_by_the_first_rule_that_fits) {
  forget("/model/encoder.w");
  forget("/model/encoder.b");
  want("/net/backbone.w", DType::float32, {4, 3});
  want("/net/backbone.b", DType::float32, {4});
  const LoadReport report =
      load({.rename = {{"/net/backbone.", "/model/encoder."}, {"/net/", "/elsewhere/"}, {"/model", "/model"}}});
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_TRUE(has("/net/backbone.w", "/model/encoder.w"));
  EXPECT_TRUE(has("/net/backbone.b", "/model/encoder.b"));
}

TEST_F(LoadTensors, globs_are_about_the_names_of_the_program) {
  forget("/model/encoder.b");
  forget("/model/encoder.w");
  want("/net/backbone.w", DType::float32, {4, 3});
  const LoadOptions options{.include = {"/net/*"}, .rename = {{"/net/backbone.", "/model/encoder."}}};
  EXPECT_THAT(load_error(options), HasSubstr("/model/encoder.b ([4] float32)")) << "/net/backbone.b, it would be";
  forget("/net/backbone.w");
  want("/net/backbone.b", DType::float32, {4});
  EXPECT_THAT(load_error(options), HasSubstr("/model/encoder.w ([4, 3] float32)"));
}

// Three tensors do not fit, each in its own way.
class LoadMisfits : public LoadTensors {
 protected:
  LoadMisfits() {
    forget("/model/head.w");
    want("/model/head.w", DType::bfloat16, {5, 4});
    forget("/model/encoder.b");
    want("/model/encoder.b", DType::int32, {4});
    forget("/optimizer/m");
    want("/model/extra", DType::int64, {2, 2});
  }
};

TEST_F(LoadMisfits, one_error_names_each_with_both_forms) {
  EXPECT_THAT(load_error(),
              AllOf(HasSubstr("1 that the program wants and the checkpoint lacks: /model/extra ([2, 2] int64)"),
                    HasSubstr("1 that the checkpoint has and the program does not want: /optimizer/m ([16] float32)"),
                    HasSubstr("2 of another shape or dtype: "),
                    HasSubstr("/model/head.w: the checkpoint has [10, 4] bfloat16, the program [5, 4] bfloat16"),
                    HasSubstr("/model/encoder.b: the checkpoint has [4] float32, the program [4] int32")));
}

TEST_F(LoadMisfits, nothing_is_read_before_all_was_checked) {
  const std::uint64_t before = checkpoint_->bytes_read();
  static_cast<void>(load_error());
  EXPECT_EQ(checkpoint_->bytes_read(), before);
}

TEST_F(LoadMisfits, what_is_to_be_reported_is_no_error) {
  const LoadReport report =
      load({.missing = Strictness::report, .unexpected = Strictness::report, .mismatched = Strictness::report});
  EXPECT_THAT(report.loaded, ElementsAre("/model/encoder.w"));
  EXPECT_THAT(report.missing, ElementsAre("/model/extra"));
  EXPECT_THAT(report.unexpected, ElementsAre("/optimizer/m"));
  EXPECT_THAT(report.mismatched, testing::UnorderedElementsAre(HasSubstr("/model/head.w: the checkpoint has"),
                                                               HasSubstr("/model/encoder.b: the checkpoint has")));
  EXPECT_TRUE(has("/model/encoder.w", "/model/encoder.w"));
}

TEST_F(LoadMisfits, each_kind_has_its_own_strictness) {
  EXPECT_THAT(load_error({.missing = Strictness::report, .mismatched = Strictness::report}),
              AllOf(HasSubstr("/optimizer/m"), Not(HasSubstr("/model/extra")), Not(HasSubstr("head"))));
  EXPECT_THAT(load_error({.unexpected = Strictness::report, .mismatched = Strictness::report}),
              AllOf(HasSubstr("/model/extra"), Not(HasSubstr("/optimizer/m"))));
  EXPECT_THAT(load_error({.missing = Strictness::report, .unexpected = Strictness::report}),
              AllOf(HasSubstr("head"), Not(HasSubstr("/model/extra"))));
}

struct BadTarget {
  const char* name;
  void (*spoil)(LoadTarget&);
};
class UnloadableTarget : public LoadTensors, public testing::WithParamInterface<BadTarget> {};

TEST_P(UnloadableTarget, is_the_callers_mistake) {
  GetParam().spoil(targets_[0]);
  EXPECT_THROW(static_cast<void>(load()), UsageError);
}

const std::vector<BadTarget> kBadTargets{
    {"null", [](LoadTarget& target) { target.data = nullptr; }},
    {"before", [](LoadTarget& target) { target.first_element = -1; }},
    {"behind", [](LoadTarget& target) { target.first_element = 1; }},
    {"far", [](LoadTarget& target) { target.first_element = INT64_MAX; }},
    {"many", [](LoadTarget& target) { target.elements = INT64_MAX; }},
    {"shape", [](LoadTarget& target) { target.global_shape = {-4}; }},
    {"huge",
     [](LoadTarget& target) {
       target.global_shape = {1L << 40, 1L << 40};
     }},
};

INSTANTIATE_TEST_SUITE_P(All, UnloadableTarget, testing::ValuesIn(kBadTargets),
                         [](const auto& target) { return target.param.name; });

}  // namespace
}  // namespace lockstep
