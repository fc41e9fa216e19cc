// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commands.hpp"
#include "elements.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {
namespace {

Json describe(const StoredTensor& tensor) { return {{"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape}}; }

// Null where the tensor is the same on both sides.
Json compare(const Checkpoint& left, const Checkpoint& right, const StoredTensor& tensor) {
  const StoredTensor* const other = right.find(tensor.name);
  if (other == nullptr) return {{"name", tensor.name}, {"difference", "only left"}};
  if (tensor.dtype != other->dtype || tensor.shape != other->shape) {
    return {{"name", tensor.name},
            {"difference", tensor.dtype != other->dtype ? "dtype" : "shape"},
            {"left", describe(tensor)},
            {"right", describe(*other)}};
  }
  const Difference difference = difference_of(left, right, tensor);
  if (difference.elements == 0) return nullptr;
  std::int64_t elements = 1;
  for (const std::int64_t dimension : tensor.shape) elements *= dimension;
  return {{"name", tensor.name},
          {"difference", "values"},
          {"elements", elements},
          {"differing", difference.elements},
          {"max_abs", difference.largest}};
}

std::string side_text(const Json& side) {
  return fmt::format("{} {}", side["dtype"].get<std::string>(),
                     shape_text(side["shape"].get<std::vector<std::int64_t>>()));
}

void print_line(const Json& difference) {
  const auto kind = difference["difference"].get<std::string>();
  std::string text = kind;
  if (kind == "values") {
    text = fmt::format(
        "{} of {} elements differ, by up to {:.6g}", monitor::count_text(difference["differing"].get<std::int64_t>()),
        monitor::count_text(difference["elements"].get<std::int64_t>()), difference["max_abs"].get<double>());
  } else if (difference.contains("left")) {
    text = fmt::format("{} here, {} there", side_text(difference["left"]), side_text(difference["right"]));
  }
  fmt::print("{:<48} {}\n", difference["name"].get<std::string>(), text);
}

}  // namespace

int diff(const std::string& left_path, const std::string& right_path, bool json) {
  const Checkpoint left = open_checkpoint(left_path);
  const Checkpoint right = open_checkpoint(right_path);
  Json differences = Json::array();
  for (const StoredTensor& tensor : left.tensors()) {
    if (Json difference = compare(left, right, tensor); !difference.is_null()) differences.push_back(difference);
  }
  for (const StoredTensor& tensor : right.tensors()) {
    if (left.find(tensor.name) == nullptr) {
      differences.push_back({{"name", tensor.name}, {"difference", "only right"}});
    }
  }
  if (json) {
    print({{"left", left.path().string()}, {"right", right.path().string()}, {"differences", differences}});
  } else {
    for (const auto& difference : differences) print_line(difference);
    fmt::print("{} of {} and {} tensors differ\n", differences.size(), left.tensors().size(), right.tensors().size());
  }
  return differences.empty() ? 0 : kDiffers;
}

}  // namespace lockstep::tool
