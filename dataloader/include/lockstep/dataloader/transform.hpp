// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/dataloader/sample.hpp"

namespace lockstep {

// The elements at a place, row-major. T: as the field's dtype says.
template <typename T>
[[nodiscard]] std::span<T> elements_at(std::span<std::byte> place) noexcept {
  return {reinterpret_cast<T*>(place.data()), place.size() / sizeof(T)};
}

// One sample as a transform finds it.
struct SampleView {
  std::span<const FieldInfo> fields;
  std::span<const std::span<std::byte>> places;  // of each field, empty where it is ragged; not to be written to

  template <typename T>
  [[nodiscard]] std::span<const T> elements(std::size_t field) const noexcept {
    return elements_at<T>(places[field]);
  }
};

// Changes the samples of a source after decoding. Thread-safe. Ragged fields pass by.
class Transform {
 public:
  virtual ~Transform() = default;
  // What becomes of samples with these fields: other dtypes and shapes, of fields that are not ragged; never other
  // names or another order. Throws UsageError if it cannot work on them.
  [[nodiscard]] virtual std::vector<FieldInfo> delivered(std::vector<FieldInfo> fields) const { return fields; }
  // Local. A field whose dtype and shape stay is changed in place: in.elements(f) and out.fixed(f) are the same bytes,
  // and a field that is not touched is delivered as it is. Any other has a new place at out.fixed(f), to be filled.
  // `random` depends on (seed, pass, sample) and on what the transforms before this one drew.
  virtual void apply(const SampleView& in, SampleSlot& out, SampleRandom& random) const = 0;
};

// Transforms one after the other.
class TransformChain {
 public:
  // Where samples are between transforms. One a thread, reused from sample to sample.
  struct Scratch {
    std::vector<std::byte> bytes;
    std::vector<std::span<std::byte>> final_places;
    std::vector<std::span<std::byte>> places;
  };

  // `decoded`: the fields as the decoders deliver them. Throws UsageError naming the transform's number.
  TransformChain(std::vector<FieldInfo> decoded, std::vector<std::shared_ptr<const Transform>> transforms);
  [[nodiscard]] const std::vector<FieldInfo>& delivered() const noexcept { return stages_.back().fields; }

  // Local. A sample is transformed so: begin(slot), whose places then are those of decoded fields; decode into it;
  // finish(slot), after which the delivered fields are where the slot had its places before. If decoding throws, leave
  // finish() out and give the slot its places again.
  void begin(SampleSlot& slot, Scratch& scratch) const;
  void finish(SampleSlot& slot, Scratch& scratch, const SampleKey& key) const;

 private:
  struct Stage {
    std::vector<FieldInfo> fields;
    std::vector<std::optional<std::size_t>> offsets;  // in Scratch::bytes; none: the field is where it is delivered
  };
  void move_to_stage(const Stage& stage, SampleSlot& slot, Scratch& scratch) const;

  std::vector<std::shared_ptr<const Transform>> transforms_;
  std::vector<Stage> stages_;  // [transforms + 1]
  std::size_t scratch_bytes_ = 0;
};

// The transforms that most image pipelines need. They work on the fields named in `fields`; where none is named, on all
// images: fields of shape [1 or 3, height, width]. What is drawn for a sample holds for all its chosen fields, so that
// an image and its mask stay together; name a transform once a field where each shall have its own.
struct RandomHorizontalFlip {
  double probability = 0.5;
  std::vector<std::string> fields{};
};
struct RandomCrop {
  std::int64_t height = 0;  // pixels, delivered
  std::int64_t width = 0;
  std::int64_t padding = 0;  // zeros on each side before the crop
  std::vector<std::string> fields{};
};
struct Normalize {  // to float32: (value − mean) / standard deviation, one of each a channel; uint8 counts as value /
                    // 255
  std::vector<double> mean;
  std::vector<double> std;
  std::vector<std::string> fields{};
};
// Throw UsageError naming the option that cannot be.
[[nodiscard]] std::shared_ptr<const Transform> make_transform(RandomHorizontalFlip options);
[[nodiscard]] std::shared_ptr<const Transform> make_transform(RandomCrop options);
[[nodiscard]] std::shared_ptr<const Transform> make_transform(Normalize options);

// The options of one transform in a description of data: {name = "random_crop", height = 224, width = 224}.
class TransformOptions {
 public:
  struct Option {
    std::string name;
    std::vector<double> numbers{};     // one, or a list
    std::vector<std::string> words{};  // likewise, where it is text
  };

  TransformOptions(std::string transform, std::vector<Option> options)
      : transform_(std::move(transform)), options_(std::move(options)), read_(options_.size()) {}

  // Throw UsageError where the option is missing (and there is nothing `otherwise`) or of another kind.
  [[nodiscard]] double number(std::string_view name, std::optional<double> otherwise = {});
  [[nodiscard]] std::int64_t whole(std::string_view name, std::optional<std::int64_t> otherwise = {});
  [[nodiscard]] std::vector<double> numbers(std::string_view name);
  [[nodiscard]] std::vector<std::string> words(std::string_view name);  // none where the option is missing
  void check_all_read() const;  // Throws UsageError naming an option that nobody asked for.

 private:
  [[nodiscard]] const Option* find(std::string_view name);
  [[noreturn]] void refuse(std::string_view name, std::string why) const;

  std::string transform_;
  std::vector<Option> options_;
  std::vector<bool> read_;
};

// Transforms by name. A program that has its own adds them before it opens its sources.
class TransformRegistry {
 public:
  using Factory = std::shared_ptr<const Transform> (*)(TransformOptions& options);

  TransformRegistry();  // with random_horizontal_flip, random_crop and normalize, whose options are the fields above
  void add(std::string name, Factory factory);  // Throws UsageError if the name is taken.
  // Throws UsageError: no such transform (the message lists all), or its options are wrong.
  [[nodiscard]] std::shared_ptr<const Transform> make(const std::string& name,
                                                      std::vector<TransformOptions::Option> options = {}) const;

 private:
  std::vector<std::pair<std::string, Factory>> factories_;
};

}  // namespace lockstep
