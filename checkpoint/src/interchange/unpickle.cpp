// SPDX-License-Identifier: Apache-2.0
#include "interchange/unpickle.hpp"

#include <fmt/format.h>

#include "interchange/foreign_tensors.hpp"
#include "interchange/pickle_values.hpp"

namespace lockstep {
namespace {

using Kind = PickleValue::Kind;

constexpr int kDeepest = 16;  // dictionaries in dictionaries

[[noreturn]] void refuse_pickle(std::string why) { refuse("its data.pkl", std::move(why)); }

// The tensors of a dictionary and of those in it. Without recursion: the file decides how deep they lie.
class Collector {
 public:
  explicit Collector(const Pickle& pickle) : pickle_(pickle), seen_(pickle.values.size()) {}

  std::vector<PickledTensor> collect() {
    if (pickle_.values[pickle_.root].kind != Kind::dictionary) refuse_pickle("it holds no dictionary of tensors");
    open(pickle_.root, "", 0);
    while (!waiting_.empty()) {
      const Waiting next = std::move(waiting_.back());
      waiting_.pop_back();
      visit(next);
    }
    return std::move(tensors_);
  }

 private:
  struct Waiting {
    std::uint32_t dictionary = 0;
    std::string prefix;
    int depth = 0;
  };

  // Once each: a dictionary that is in two places, or in itself, could stand for any number of tensors.
  void open(std::uint32_t dictionary, std::string prefix, int depth) {
    if (seen_[dictionary]) refuse_pickle("a dictionary is in it twice, or in itself");
    if (depth > kDeepest) refuse_pickle(fmt::format("it is nested more than {} deep", kDeepest));
    seen_[dictionary] = true;
    waiting_.push_back({dictionary, std::move(prefix), depth});
  }

  void visit(const Waiting& waiting) {
    const auto& items = pickle_.values[waiting.dictionary].items;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleValue& value = pickle_.values[items[i + 1]];
      if (value.kind != Kind::dictionary && value.kind != Kind::tensor) continue;
      std::string name = full_name(waiting.prefix, pickle_.values[items[i]]);
      if (value.kind == Kind::tensor) {
        tensors_.push_back(describe(std::move(name), value));
      } else {
        open(items[i + 1], std::move(name) + "/", waiting.depth + 1);
      }
    }
  }

  // Short, because the names below a long one would all be as long.
  static std::string full_name(const std::string& prefix, const PickleValue& key) {
    constexpr std::size_t kLongest = 1024;
    if (key.kind != Kind::text && key.kind != Kind::number) refuse_pickle("a key is neither a text nor a number");
    const std::string number = key.kind == Kind::number ? fmt::to_string(key.number) : "";
    const std::string_view text = key.kind == Kind::number ? number : key.text;
    if (prefix.size() + text.size() > kLongest) refuse_pickle(fmt::format("a name has more than {} bytes", kLongest));
    return prefix + std::string(text);
  }

  [[nodiscard]] std::int64_t number(std::uint32_t id) const {
    const PickleValue& value = pickle_.values[id];
    if (value.kind != Kind::number || value.number < 0) refuse_pickle("a size is not a number from 0 to 2^63 - 1");
    return value.number;
  }
  [[nodiscard]] std::vector<std::int64_t> numbers(std::uint32_t id) const {
    constexpr std::size_t kMost = 64;  // PyTorch's own limit of dimensions
    const auto& items = pickle_.values[id].items;
    if (items.size() > kMost) refuse_pickle(fmt::format("a tensor has {} dimensions", items.size()));
    std::vector<std::int64_t> result;
    for (const auto item : items) result.push_back(number(item));
    return result;
  }

  [[nodiscard]] PickledTensor describe(std::string name, const PickleValue& tensor) const {
    const PickleValue& storage = pickle_.values[tensor.items[0]];
    PickledTensor described{.name = std::move(name),
                            .dtype = static_cast<DType>(storage.number),
                            .storage = storage.text,
                            .storage_elements = number(storage.items[0]),
                            .offset = number(tensor.items[1]),
                            .shape = numbers(tensor.items[2]),
                            .strides = numbers(tensor.items[3])};
    if (described.shape.size() != described.strides.size()) {
      refuse(tensor_text(described.name), "it has not as many strides as dimensions");
    }
    return described;
  }

  const Pickle& pickle_;
  std::vector<bool> seen_;
  std::vector<Waiting> waiting_;
  std::vector<PickledTensor> tensors_;
};

}  // namespace

std::vector<PickledTensor> unpickle_tensors(std::span<const std::byte> pickle) {
  return Collector(parse_pickle(pickle)).collect();
}

}  // namespace lockstep
