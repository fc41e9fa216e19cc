// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/transform.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using Chain = std::vector<std::shared_ptr<const Transform>>;

const FieldInfo kImage{.name = "image", .dtype = DType::uint8, .shape = {1, 2, 3}};
const FieldInfo kSpeed{.name = "speed", .dtype = DType::float32, .shape = {}};
const FieldInfo kLidar{.name = "lidar", .dtype = DType::float32, .shape = {-1, 4}};

// Runs a sample through the chain as a data set does; returns the delivered bytes of each field.
class Sample {
 public:
  explicit Sample(const TransformChain& chain) : chain_(chain) {
    for (const auto& field : chain.delivered()) {
      places_.emplace_back(field.ragged() ? 0 : field.row_bytes());
      rows_.push_back({.row_bytes = field.row_bytes(), .bytes = {}});
    }
  }

  template <typename T>
  std::vector<T> run(const std::vector<std::vector<std::byte>>& decoded, const SampleKey& key, std::size_t wanted) {
    std::vector<std::span<std::byte>> fixed(places_.begin(), places_.end());
    std::vector<SampleSlot::Rows*> ragged(rows_.size());
    for (std::size_t f = 0; f < rows_.size(); ++f) ragged[f] = fixed[f].empty() ? &rows_[f] : nullptr;
    SampleSlot slot(fixed, ragged);
    chain_.begin(slot, scratch_);
    for (std::size_t f = 0; f < decoded.size(); ++f) {
      const auto rows = static_cast<std::int64_t>(decoded[f].size() / rows_[f].row_bytes);
      const auto to = ragged[f] == nullptr ? slot.fixed(f) : slot.ragged(f, rows);
      EXPECT_EQ(to.size(), decoded[f].size());
      std::ranges::copy(decoded[f], to.begin());
    }
    chain_.finish(slot, scratch_, key);
    for (std::size_t f = 0; f < fixed.size(); ++f) EXPECT_EQ(slot.fixed(f).data(), fixed[f].data());
    const auto& bytes = ragged[wanted] == nullptr ? places_[wanted] : rows_[wanted].bytes;
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  const TransformChain& chain_;
  TransformChain::Scratch scratch_;
  std::vector<std::vector<std::byte>> places_;
  std::vector<SampleSlot::Rows> rows_;
};

template <typename T>
std::vector<std::byte> stored(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

template <typename T>
std::vector<T> transformed(const FieldInfo& field, const Chain& transforms, const std::vector<std::byte>& decoded,
                           const SampleKey& key = {}) {
  const TransformChain chain({field}, transforms);
  return Sample(chain).run<T>({decoded}, key, 0);
}

const std::vector<std::byte> kPixels = stored<std::uint8_t>({1, 2, 3, 4, 5, 6});

// The whole of what a user writes for a transform of his own: the brightness of all uint8 images changes by chance.
class RandomBrightness final : public Transform {
 public:
  explicit RandomBrightness(double most) : most_(most) {}

  void apply(const SampleView& in, SampleSlot& out, SampleRandom& random) const override {
    const auto change = static_cast<int>(most_ * (2 * random.uniform() - 1));
    for (std::size_t f = 0; f < in.fields.size(); ++f) {
      if (in.fields[f].dtype != DType::uint8 || in.fields[f].ragged()) continue;
      for (auto& pixel : elements_at<std::uint8_t>(out.fixed(f))) {
        pixel = static_cast<std::uint8_t>(std::clamp(pixel + change, 0, 255));
      }
    }
  }

 private:
  const double most_;
};

std::shared_ptr<const Transform> make_brightness(TransformOptions& options) {
  return std::make_shared<RandomBrightness>(options.number("most", 32));
}

TEST(Transform, of_a_user_is_made_by_name_and_works_in_place) {
  TransformRegistry registry;
  registry.add("random_brightness", make_brightness);
  const auto brightness = registry.make("random_brightness", {{.name = "most", .numbers = {100}}});
  const auto pixels = transformed<std::uint8_t>(kImage, {brightness},
                                                stored<std::uint8_t>({100, 101, 102, 103, 104, 105}), {.seed = 1});
  EXPECT_NE(pixels[0], 100);
  EXPECT_EQ(pixels[5] - pixels[0], 5);
}

TEST(TransformChain, delivers_what_was_decoded_where_there_is_no_transform) {
  EXPECT_THAT(transformed<std::uint8_t>(kImage, {}, kPixels), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(TransformChain, other_fields_pass_by) {
  const TransformChain chain({kSpeed, kImage, kLidar}, {make_transform(RandomHorizontalFlip{.probability = 1.0}),
                                                        make_transform(RandomCrop{.height = 1, .width = 1}),
                                                        make_transform(Normalize{.mean = {0.0}, .std = {1.0}})});
  EXPECT_EQ(chain.delivered()[0], kSpeed);
  EXPECT_EQ(chain.delivered()[1], (FieldInfo{.name = "image", .dtype = DType::float32, .shape = {1, 1, 1}}));
  EXPECT_EQ(chain.delivered()[2], kLidar);
  const std::vector decoded{stored<float>({12.5F}), kPixels, stored<float>({1, 2, 3, 4})};
  EXPECT_THAT(Sample(chain).run<float>(decoded, {}, 0), ElementsAre(12.5F));
  EXPECT_THAT(Sample(chain).run<float>(decoded, {}, 2), ElementsAre(1, 2, 3, 4));
}

TEST(TransformChain, works_in_order) {
  const auto flip = make_transform(RandomHorizontalFlip{.probability = 1.0});
  const auto normalize = make_transform(Normalize{.mean = {0.0}, .std = {1.0 / 255}});  // the value as a float
  EXPECT_THAT(transformed<float>(kImage, {flip, normalize}, kPixels), ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_THAT(transformed<float>(kImage, {normalize, flip, flip}, kPixels), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(TransformChain, a_sample_is_augmented_alike_whenever_it_is_read) {
  const TransformChain chain({kImage}, {make_transform(RandomCrop{.height = 1, .width = 2, .padding = 1}),
                                        make_transform(RandomHorizontalFlip{})});
  Sample sample(chain);
  std::vector<std::vector<int>> forward;  // of int: g++ 12 warns of sorting bytes
  for (std::int64_t i = 0; i < 40; ++i) {
    const auto pixels = sample.run<std::uint8_t>({kPixels}, {.seed = 3, .sample = i}, 0);
    forward.emplace_back(pixels.begin(), pixels.end());
  }
  Sample other(chain);
  for (std::int64_t i = 40; i-- > 0;) {
    EXPECT_THAT(other.run<std::uint8_t>({kPixels}, {.seed = 3, .sample = i}, 0),
                testing::ElementsAreArray(forward[static_cast<std::size_t>(i)]));
  }
  std::ranges::sort(forward);
  EXPECT_GT(std::ranges::unique(forward).begin() - forward.begin(), 8);
}

class Renames final : public Transform {
  [[nodiscard]] std::vector<FieldInfo> delivered(std::vector<FieldInfo> fields) const override {
    fields[0].name = "picture";
    return fields;
  }
  void apply(const SampleView&, SampleSlot&, SampleRandom&) const override {}
};

TEST(TransformChain, refuses_a_transform_that_makes_other_fields) {
  EXPECT_THAT(([] { (void)TransformChain({kImage}, {std::make_shared<Renames>()}); }),
              ThrowsMessage<UsageError>(HasSubstr("transform 1 of the source: it makes field \"picture\" of field")));
}

TEST(RandomHorizontalFlip, flips_as_often_as_it_is_told) {
  int flipped = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    flipped += transformed<std::uint8_t>(kImage, {make_transform(RandomHorizontalFlip{.probability = 0.25})}, kPixels,
                                         {.sample = i})[0] == 3;
  }
  EXPECT_NEAR(flipped, 250, 70);  // five standard deviations
}

TEST(RandomHorizontalFlip, treats_an_image_and_its_mask_alike) {
  const FieldInfo mask{.name = "mask", .dtype = DType::int32, .shape = {1, 1, 2}};
  const TransformChain chain({kImage, mask}, {make_transform(RandomHorizontalFlip{})});
  Sample sample(chain);
  for (std::int64_t i = 0; i < 20; ++i) {
    const std::vector decoded{kPixels, stored<std::int32_t>({1, 2})};
    const bool image_flipped = sample.run<std::uint8_t>(decoded, {.sample = i}, 0)[0] == 3;
    EXPECT_EQ(sample.run<std::int32_t>(decoded, {.sample = i}, 1)[0] == 2, image_flipped);
  }
}

TEST(RandomCrop, delivers_every_part_of_the_padded_image) {
  const FieldInfo image{.name = "image", .dtype = DType::uint8, .shape = {3, 2, 2}};
  std::vector<std::uint8_t> pixels(12);
  std::iota(pixels.begin(), pixels.end(), std::uint8_t{1});
  std::vector<std::vector<int>> seen;
  for (std::int64_t i = 0; i < 400; ++i) {
    const auto crop = transformed<std::uint8_t>(
        image, {make_transform(RandomCrop{.height = 2, .width = 2, .padding = 1})}, stored(pixels), {.sample = i});
    seen.emplace_back(crop.begin(), crop.end());
  }
  std::ranges::sort(seen);
  seen.erase(std::ranges::unique(seen).begin(), seen.end());
  EXPECT_EQ(seen.size(), 9);
  EXPECT_THAT(seen, testing::Contains(testing::ElementsAreArray(pixels)));
  EXPECT_THAT(seen, testing::Contains(ElementsAre(0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9)));
  EXPECT_THAT(seen, testing::Contains(ElementsAre(4, 0, 0, 0, 8, 0, 0, 0, 12, 0, 0, 0)));
}

TEST(RandomCrop, far_outside_is_black) {
  const FieldInfo image{.name = "image", .dtype = DType::float32, .shape = {1, 1, 1}};
  bool black = false;
  for (std::int64_t i = 0; i < 100; ++i) {
    const auto pixels = transformed<float>(image, {make_transform(RandomCrop{.height = 1, .width = 1, .padding = 5})},
                                           stored<float>({7}), {.sample = i});
    ASSERT_TRUE(pixels[0] == 0 || pixels[0] == 7);
    black |= pixels[0] == 0;
  }
  EXPECT_TRUE(black);
}

TEST(Normalize, gives_mean_and_deviation_a_channel) {
  const FieldInfo image{.name = "image", .dtype = DType::uint8, .shape = {3, 1, 2}};
  const auto normalize = make_transform(Normalize{.mean = {0.0, 0.5, 1.0}, .std = {1.0, 0.5, 0.25}});
  EXPECT_THAT(transformed<float>(image, {normalize}, stored<std::uint8_t>({0, 255, 0, 255, 0, 255})),
              testing::Pointwise(testing::FloatEq(), {0.0F, 1.0F, -1.0F, 1.0F, -4.0F, 0.0F}));
  const FieldInfo floats{.name = "image", .dtype = DType::float32, .shape = {3, 1, 1}};
  EXPECT_THAT(transformed<float>(floats, {normalize}, stored<float>({2, 2, 2})), ElementsAre(2, 3, 4));
}

template <typename Make>
auto refused(Make make, const char* why) {
  EXPECT_THAT(make, ThrowsMessage<UsageError>(AllOf(HasSubstr(why), HasSubstr("Fix: ")))) << why;
}

TEST(TransformRegistry, names_what_is_wrong_with_options) {
  const TransformRegistry registry;
  const auto make = [&](const char* name, std::vector<TransformOptions::Option> options) {
    return [&registry, name, options] { (void)registry.make(name, options); };
  };
  refused(make("random_corp", {}), "use one of random_horizontal_flip, random_crop, normalize");
  refused(make("random_crop", {{.name = "height", .numbers = {2}}}),
          "option width of transform random_crop: it is missing");
  refused(make("random_crop", {{.name = "height", .words = {"tall"}}}), "it is not a number");
  refused(make("random_crop", {{.name = "height", .numbers = {2.5}}}), "2.5 is not whole");
  refused(make("random_horizontal_flip", {{.name = "p", .numbers = {1}}}), "the transform has no such option");
  refused(make("random_horizontal_flip", {{.name = "probability", .numbers = {2}}}), "probability = 2");
  refused(make("normalize", {{.name = "mean", .numbers = {0, 0}}, {.name = "std", .numbers = {1}}}),
          "2 means, 1 standard");
}

TEST(TransformRegistry, has_each_name_once) {
  TransformRegistry registry;
  EXPECT_THROW(registry.add("normalize", make_brightness), UsageError);
}

TEST(BuiltInTransforms, refuse_fields_that_do_not_suit_them) {
  const auto chain = [](const FieldInfo& field, std::shared_ptr<const Transform> transform) {
    return [=] { (void)TransformChain({field}, {transform}); };
  };
  refused(chain(kSpeed, make_transform(RandomHorizontalFlip{})), "the source has no images");
  refused(chain(kSpeed, make_transform(RandomHorizontalFlip{.fields = {"speed"}})), "field \"speed\" has the shape []");
  refused(chain(kImage, make_transform(RandomHorizontalFlip{.fields = {"front"}})), "there is no field \"front\"");
  refused(chain(kImage, make_transform(RandomCrop{.height = 4, .width = 1, .padding = 0})), "does not fit");
  refused(chain(kImage, make_transform(Normalize{.mean = {0, 0, 0}, .std = {1, 1, 1}})), "3 means for field \"image\"");
}

}  // namespace
}  // namespace lockstep
