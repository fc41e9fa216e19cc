// SPDX-License-Identifier: Apache-2.0
// The built-in transforms.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "decode/decode_detail.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/transform.hpp"

namespace lockstep {
namespace {

[[noreturn]] void refuse(std::string_view transform, std::string why, std::string fix) {
  throw UsageError({.what = fmt::format("transform {}", transform), .why = std::move(why), .fix = std::move(fix)});
}

bool is_image(const FieldInfo& field) {
  return field.shape.size() == 3 && (field.shape[0] == 1 || field.shape[0] == 3);  // a ragged one begins with −1
}

// What the built-in transforms have in common: they work on images.
class ImageTransform : public Transform {
 protected:
  ImageTransform(std::string_view name, std::vector<std::string> fields) : name_(name), fields_(std::move(fields)) {}

  [[nodiscard]] bool chosen(const FieldInfo& field) const {
    return is_image(field) && (fields_.empty() || std::ranges::find(fields_, field.name) != fields_.end());
  }

  void check(const std::vector<FieldInfo>& all) const {
    const auto is_chosen = [this](const FieldInfo& field) { return chosen(field); };
    for (const auto& name : fields_) {
      const auto found = std::ranges::find(all, name, &FieldInfo::name);
      if (found == all.end()) refuse(name_, fmt::format("there is no field \"{}\"", name), "name fields of the source");
      if (!is_image(*found)) {
        refuse(name_, fmt::format("field \"{}\" has the shape {}", name, text_of(found->shape)), kShape);
      }
    }
    if (std::ranges::none_of(all, is_chosen)) refuse(name_, "the source has no images", kShape);
  }

  static constexpr const char* kShape = "images are [1 or 3, height, width]: decode them with channels_first";
  const std::string_view name_;

 private:
  const std::vector<std::string> fields_;
};

class HorizontalFlipTransform final : public ImageTransform {
 public:
  explicit HorizontalFlipTransform(RandomHorizontalFlip options)
      : ImageTransform("random_horizontal_flip", std::move(options.fields)), probability_(options.probability) {}

  [[nodiscard]] std::vector<FieldInfo> delivered(std::vector<FieldInfo> fields) const override {
    check(fields);
    return fields;
  }

  void apply(const SampleView& in, SampleSlot& out, SampleRandom& random) const override {
    if (random.uniform() >= probability_) return;
    for (std::size_t f = 0; f < in.fields.size(); ++f) {
      if (!chosen(in.fields[f])) continue;
      const auto width = static_cast<std::size_t>(in.fields[f].shape[2]);
      switch (size_of(in.fields[f].dtype)) {
        case 1:
          flip(elements_at<std::uint8_t>(out.fixed(f)), width);
          break;
        case 2:
          flip(elements_at<std::uint16_t>(out.fixed(f)), width);
          break;
        case 4:
          flip(elements_at<std::uint32_t>(out.fixed(f)), width);
          break;
        case 8:
          flip(elements_at<std::uint64_t>(out.fixed(f)), width);
          break;
      }
    }
  }

 private:
  template <typename T>
  static void flip(std::span<T> rows, std::size_t width) {
    for (std::size_t first = 0; first < rows.size(); first += width) std::ranges::reverse(rows.subspan(first, width));
  }

  const double probability_;
};

class CropTransform final : public ImageTransform {
 public:
  explicit CropTransform(RandomCrop options)
      : ImageTransform("random_crop", options.fields),
        height_(options.height),
        width_(options.width),
        padding_(options.padding) {}

  [[nodiscard]] std::vector<FieldInfo> delivered(std::vector<FieldInfo> fields) const override {
    check(fields);
    const FieldInfo first = *std::ranges::find_if(fields, [this](const auto& field) { return chosen(field); });
    for (auto& field : fields) {
      if (!chosen(field)) continue;
      if (field.shape[1] != first.shape[1] || field.shape[2] != first.shape[2]) {
        refuse(name_,
               fmt::format("\"{}\" is {} and \"{}\" is {}", first.name, text_of(first.shape), field.name,
                           text_of(field.shape)),
               "crop fields of one size together: name them in `fields`");
      }
      if (height_ > field.shape[1] + 2 * padding_ || width_ > field.shape[2] + 2 * padding_) {
        refuse(name_,
               fmt::format("{} × {} with padding {} does not fit into \"{}\", which is {}", height_, width_, padding_,
                           field.name, text_of(field.shape)),
               "crop less, or pad more");
      }
      field.shape[1] = height_;
      field.shape[2] = width_;
    }
    return fields;
  }

  void apply(const SampleView& in, SampleSlot& out, SampleRandom& random) const override {
    const auto first = std::ranges::find_if(in.fields, [this](const auto& field) { return chosen(field); });
    const auto draw = [&](std::int64_t length, std::int64_t wanted) {
      return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(length + 2 * padding_ - wanted + 1))) -
             padding_;
    };
    const std::int64_t top = draw(first->shape[1], height_);
    const std::int64_t left = draw(first->shape[2], width_);
    std::vector<std::byte> copy;
    for (std::size_t f = 0; f < in.fields.size(); ++f) {
      if (!chosen(in.fields[f])) continue;
      Bytes from = in.places[f];
      if (from.data() == out.fixed(f).data()) {  // of the same size, with padding
        copy.assign(from.begin(), from.end());
        from = copy;
      }
      crop(in.fields[f], from, out.fixed(f), top, left);
    }
  }

 private:
  // Row `top`, column `left` of the image becomes the first; both may be outside.
  void crop(const FieldInfo& image, Bytes from, std::span<std::byte> to, std::int64_t top, std::int64_t left) const {
    const auto bytes = static_cast<std::int64_t>(size_of(image.dtype));
    const std::int64_t height = image.shape[1];
    const std::int64_t width = image.shape[2];
    const std::int64_t first = std::clamp<std::int64_t>(-left, 0, width_);  // columns [first, end) are in the image
    const std::int64_t end = std::clamp<std::int64_t>(width - left, first, width_);
    std::byte* row = to.data();
    for (std::int64_t channel = 0; channel < image.shape[0]; ++channel) {
      for (std::int64_t y = top; y < top + height_; ++y, row += width_ * bytes) {
        if (y < 0 || y >= height || first == end) {
          std::memset(row, 0, static_cast<std::size_t>(width_ * bytes));
          continue;
        }
        std::memset(row, 0, static_cast<std::size_t>(first * bytes));
        std::memcpy(row + first * bytes, from.data() + ((channel * height + y) * width + left + first) * bytes,
                    static_cast<std::size_t>((end - first) * bytes));
        std::memset(row + end * bytes, 0, static_cast<std::size_t>((width_ - end) * bytes));
      }
    }
  }

  const std::int64_t height_;
  const std::int64_t width_;
  const std::int64_t padding_;
};

// As decoding does it: float(value) · scale + offset in float32, rounded after each operation.
template <typename T>
void scale_plane(std::span<const T> from, float* to, float scale, float offset) {
  for (const T value : from) *to++ = static_cast<float>(value) * scale + offset;
}

class NormalizeTransform final : public ImageTransform {
 public:
  explicit NormalizeTransform(Normalize options)
      : ImageTransform("normalize", std::move(options.fields)), mean_(std::move(options.mean)), std_(options.std) {}

  [[nodiscard]] std::vector<FieldInfo> delivered(std::vector<FieldInfo> fields) const override {
    check(fields);
    for (auto& field : fields) {
      if (!chosen(field)) continue;
      if (field.dtype != DType::uint8 && field.dtype != DType::float32) {
        refuse(name_, fmt::format("field \"{}\" is {}", field.name, lockstep::name_of(field.dtype)),
               "decode it to uint8 or float32");
      }
      if (!std::cmp_equal(field.shape[0], mean_.size())) {
        refuse(name_, fmt::format("{} means for field \"{}\" of {} channels", mean_.size(), field.name, field.shape[0]),
               "give a mean and a std for each channel, and name the fields");
      }
      field.dtype = DType::float32;
    }
    return fields;
  }

  void apply(const SampleView& in, SampleSlot& out, SampleRandom& /*random*/) const override {
    for (std::size_t f = 0; f < in.fields.size(); ++f) {
      const FieldInfo& field = in.fields[f];
      if (!chosen(field)) continue;
      const auto pixels = static_cast<std::size_t>(field.shape[1] * field.shape[2]);
      for (std::size_t channel = 0; channel < mean_.size(); ++channel) {
        const double range = field.dtype == DType::uint8 ? 255.0 : 1.0;
        const auto scale = static_cast<float>(1.0 / (range * std_[channel]));
        const auto offset = static_cast<float>(-mean_[channel] / std_[channel]);
        float* const to = elements_at<float>(out.fixed(f)).data() + channel * pixels;
        if (field.dtype == DType::uint8) {
          scale_plane(in.elements<std::uint8_t>(f).subspan(channel * pixels, pixels), to, scale, offset);
        } else {
          scale_plane(in.elements<float>(f).subspan(channel * pixels, pixels), to, scale, offset);
        }
      }
    }
  }

 private:
  const std::vector<double> mean_;
  const std::vector<double> std_;
};

}  // namespace

std::shared_ptr<const Transform> make_transform(RandomHorizontalFlip options) {
  if (!(options.probability >= 0.0 && options.probability <= 1.0)) {
    refuse("random_horizontal_flip", fmt::format("probability = {}", options.probability), "give 0 … 1");
  }
  return std::make_shared<HorizontalFlipTransform>(std::move(options));
}

std::shared_ptr<const Transform> make_transform(RandomCrop options) {
  constexpr std::int64_t kMost = 1 << 20;  // pixels of a side, so that sums of them do not overflow
  const auto sane = [](std::int64_t value, std::int64_t least) { return value >= least && value <= kMost; };
  if (!sane(options.height, 1) || !sane(options.width, 1) || !sane(options.padding, 0)) {
    refuse("random_crop",
           fmt::format("height = {}, width = {}, padding = {}", options.height, options.width, options.padding),
           "give height and width of at least 1 pixel and a padding of at least 0");
  }
  return std::make_shared<CropTransform>(std::move(options));
}

std::shared_ptr<const Transform> make_transform(Normalize options) {
  const bool finite = std::ranges::all_of(options.mean, [](double mean) { return std::isfinite(mean); }) &&
                      std::ranges::all_of(options.std, [](double std) { return std::isfinite(std) && std > 0; });
  if (!finite || options.mean.empty() || options.mean.size() != options.std.size()) {
    refuse("normalize", fmt::format("{} means, {} standard deviations", options.mean.size(), options.std.size()),
           "give a mean and a std above 0 for each channel");
  }
  return std::make_shared<NormalizeTransform>(std::move(options));
}

}  // namespace lockstep
