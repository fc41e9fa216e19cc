// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataloader/open.hpp"
#include "dataloader/synthetic.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using namespace std::string_literals;

const std::string kImages = "\0\0\x08\x03\0\0\0\x03\0\0\0\x01\0\0\0\x02"s + "abcdef";  // 3 × [1, 2]
const std::string kLabels = "\0\0\x08\x01\0\0\0\x03"s + "xyz";

class IdxRecords : public testing::Test {
 protected:
  void SetUp() override {
    write_text(folder_ / "train-images-idx3-ubyte", kImages);
    write_text(folder_ / "train-labels-idx1-ubyte", kLabels);
  }
  TemporaryDirectory folder_;
};

TEST_F(IdxRecords, a_sample_is_an_image_and_its_label) {
  const auto reader = open_folder(folder_.path());
  ASSERT_EQ(reader->samples(), 3);
  EXPECT_EQ(reader->fields()[0].name, "data");
  EXPECT_THAT(reader->fields()[0].shape, ElementsAre(1, 2));
  EXPECT_EQ(reader->fields()[1].name, "target");
  const auto record = read_record(*reader, 1);
  EXPECT_EQ(text_of(record.fields[0]), "cd");
  EXPECT_EQ(text_of(record.fields[1]), "y");
}

TEST_F(IdxRecords, fields_come_in_the_order_asked_for) {
  const auto reader = open_folder(folder_.path(), {.fields = {"target", "data"}});
  const auto record = read_record(*reader, 2);
  EXPECT_EQ(text_of(record.fields[0]), "z");
  EXPECT_EQ(text_of(record.fields[1]), "ef");
}

TEST_F(IdxRecords, several_pairs_are_used_only_by_name) {
  write_text(folder_ / "t10k-images-idx3-ubyte", kImages);
  write_text(folder_ / "t10k-labels-idx1-ubyte", kLabels);
  EXPECT_THAT(
      [&] { open_folder(folder_.path()); },
      ThrowsMessage<DataError>(AllOf(HasSubstr("t10k-images-idx3-ubyte and train"), HasSubstr("name the one"))));
  EXPECT_EQ(open_folder(folder_.path(), {.files = {"t10k-images-idx3-ubyte"}})->samples(), 3);
  EXPECT_EQ(open_folder(folder_.path(), {.files = {"t10k-images-idx3-ubyte", "train-images-idx3-ubyte"}})->samples(),
            6);
}

TEST_F(IdxRecords, images_without_labels_are_refused) {
  std::filesystem::remove(folder_ / "train-labels-idx1-ubyte");
  EXPECT_THAT([&] { open_folder(folder_.path()); }, ThrowsMessage<DataError>(HasSubstr("has no train-labels")));
}

TEST_F(IdxRecords, labels_of_another_number_are_refused) {
  write_text(folder_ / "train-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x02xy"s);
  EXPECT_THAT([&] { open_folder(folder_.path()); }, ThrowsMessage<DataError>(HasSubstr("holds 3 samples")));
}

TEST_F(IdxRecords, fingerprint_changes_with_the_content) {
  const auto before = open_folder(folder_.path())->fingerprint();
  write_text(folder_ / "train-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x03xyy"s);
  EXPECT_NE(open_folder(folder_.path())->fingerprint(), before);
}

}  // namespace
}  // namespace lockstep
