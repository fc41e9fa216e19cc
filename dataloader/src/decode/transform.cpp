// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/transform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "decode/decode_detail.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kAlignment = 64;  // of places in the scratch: of any element type, and for vector instructions

void check_delivered(std::size_t number, const std::vector<FieldInfo>& before, const std::vector<FieldInfo>& after) {
  const auto refuse = [&](std::string why) {
    throw UsageError({.what = fmt::format("transform {} of the source", number),
                      .why = std::move(why),
                      .fix = "Transform::delivered() may change dtype and shape of fields that are not ragged"});
  };
  if (after.size() != before.size()) refuse(fmt::format("it makes {} fields of {}", after.size(), before.size()));
  for (std::size_t f = 0; f < after.size(); ++f) {
    if (after[f].name != before[f].name) {
      refuse(fmt::format("it makes field \"{}\" of field \"{}\"", after[f].name, before[f].name));
    }
    if (after[f] != before[f] && (after[f].ragged() || before[f].ragged())) {
      refuse(fmt::format("field \"{}\" is or becomes ragged", after[f].name));
    }
    if (!elements_of(after[f].shape)) {
      refuse(fmt::format("field \"{}\" cannot have the shape {}", after[f].name, text_of(after[f].shape)));
    }
  }
}

}  // namespace

TransformChain::TransformChain(std::vector<FieldInfo> decoded, std::vector<std::shared_ptr<const Transform>> transforms)
    : transforms_(std::move(transforms)) {
  stages_.push_back({.fields = std::move(decoded), .offsets = {}});
  for (const auto& transform : transforms_) {
    const auto& before = stages_.back().fields;
    auto after = transform->delivered(before);
    check_delivered(stages_.size(), before, after);
    stages_.push_back({.fields = std::move(after), .offsets = {}});
  }
  // From the end: a field is in the scratch before the last transform that changes its form, and moves within it where
  // an earlier one does.
  stages_.back().offsets.resize(delivered().size());
  for (std::size_t s = stages_.size() - 1; s-- > 0;) {
    stages_[s].offsets = stages_[s + 1].offsets;
    for (std::size_t f = 0; f < delivered().size(); ++f) {
      if (stages_[s].fields[f] == stages_[s + 1].fields[f]) continue;
      stages_[s].offsets[f] = scratch_bytes_;
      scratch_bytes_ += (stages_[s].fields[f].row_bytes() + kAlignment - 1) / kAlignment * kAlignment;
    }
  }
}

void TransformChain::move_to_stage(const Stage& stage, SampleSlot& slot, Scratch& scratch) const {
  for (std::size_t f = 0; f < stage.fields.size(); ++f) {
    const auto offset = stage.offsets[f];
    slot.move_to(
        f, offset ? std::span(scratch.bytes).subspan(*offset, stage.fields[f].row_bytes()) : scratch.final_places[f]);
  }
}

void TransformChain::begin(SampleSlot& slot, Scratch& scratch) const {
  scratch.bytes.resize(scratch_bytes_);
  scratch.final_places.resize(delivered().size());
  for (std::size_t f = 0; f < delivered().size(); ++f) scratch.final_places[f] = slot.fixed(f);
  move_to_stage(stages_.front(), slot, scratch);
}

void TransformChain::finish(SampleSlot& slot, Scratch& scratch, const SampleKey& key) const {
  SampleRandom random(key);
  scratch.places.resize(delivered().size());
  for (std::size_t t = 0; t < transforms_.size(); ++t) {
    for (std::size_t f = 0; f < delivered().size(); ++f) scratch.places[f] = slot.fixed(f);
    move_to_stage(stages_[t + 1], slot, scratch);
    transforms_[t]->apply({.fields = stages_[t].fields, .places = scratch.places}, slot, random);
  }
}

void TransformOptions::refuse(std::string_view name, std::string why) const {
  throw UsageError({.what = fmt::format("option {} of transform {}", name, transform_),
                    .why = std::move(why),
                    .fix = "correct it in the description of the source"});
}

const TransformOptions::Option* TransformOptions::find(std::string_view name) {
  const auto found = std::ranges::find(options_, name, &Option::name);
  if (found == options_.end()) return nullptr;
  read_[static_cast<std::size_t>(found - options_.begin())] = true;
  return &*found;
}

double TransformOptions::number(std::string_view name, std::optional<double> otherwise) {
  const Option* const option = find(name);
  if (option == nullptr && otherwise) return *otherwise;
  if (option == nullptr) refuse(name, "it is missing");
  if (option->numbers.size() != 1 || !option->words.empty()) refuse(name, "it is not a number");
  return option->numbers.front();
}

std::int64_t TransformOptions::whole(std::string_view name, std::optional<std::int64_t> otherwise) {
  const double value = number(name, otherwise ? std::optional(static_cast<double>(*otherwise)) : std::nullopt);
  constexpr double kMost = 0x1p53;  // beyond, a double skips integers
  if (value != std::floor(value) || std::abs(value) > kMost) refuse(name, fmt::format("{} is not whole", value));
  return static_cast<std::int64_t>(value);
}

std::vector<double> TransformOptions::numbers(std::string_view name) {
  const Option* const option = find(name);
  if (option == nullptr) refuse(name, "it is missing");
  if (option->numbers.empty() || !option->words.empty()) refuse(name, "it is not a list of numbers");
  return option->numbers;
}

std::vector<std::string> TransformOptions::words(std::string_view name) {
  const Option* const option = find(name);
  if (option == nullptr) return {};
  if (option->words.empty() || !option->numbers.empty()) refuse(name, "it is not text");
  return option->words;
}

void TransformOptions::check_all_read() const {
  for (std::size_t i = 0; i < options_.size(); ++i) {
    if (!read_[i]) refuse(options_[i].name, "the transform has no such option");
  }
}

TransformRegistry::TransformRegistry() {
  add("random_horizontal_flip", [](TransformOptions& options) {
    return make_transform(
        RandomHorizontalFlip{.probability = options.number("probability", 0.5), .fields = options.words("fields")});
  });
  add("random_crop", [](TransformOptions& options) {
    return make_transform(RandomCrop{.height = options.whole("height"),
                                     .width = options.whole("width"),
                                     .padding = options.whole("padding", 0),
                                     .fields = options.words("fields")});
  });
  add("normalize", [](TransformOptions& options) {
    return make_transform(
        Normalize{.mean = options.numbers("mean"), .std = options.numbers("std"), .fields = options.words("fields")});
  });
}

void TransformRegistry::add(std::string name, Factory factory) {
  if (std::ranges::find(factories_, name, &decltype(factories_)::value_type::first) != factories_.end()) {
    throw UsageError({.what = fmt::format("transform {}", name), .why = "there is one of this name"});
  }
  factories_.emplace_back(std::move(name), factory);
}

std::shared_ptr<const Transform> TransformRegistry::make(const std::string& name,
                                                         std::vector<TransformOptions::Option> options) const {
  const auto found = std::ranges::find(factories_, name, &decltype(factories_)::value_type::first);
  if (found == factories_.end()) {
    std::string known;
    for (const auto& [other, factory] : factories_) known += fmt::format("{}{}", known.empty() ? "" : ", ", other);
    throw UsageError({.what = fmt::format("transform \"{}\"", name),
                      .why = "there is no transform of this name",
                      .fix = fmt::format("use one of {}, or add it to the program's TransformRegistry", known)});
  }
  TransformOptions read(name, std::move(options));
  auto transform = found->second(read);
  read.check_all_read();
  return transform;
}

}  // namespace lockstep
