// SPDX-License-Identifier: Apache-2.0
#include "interchange/foreign_tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "format/manifest.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {

void ForeignTensors::add(ForeignTensor tensor) {
  if (bytes_of(tensor.dtype, tensor.shape) != tensor.bytes.size()) {
    refuse(tensor_text(tensor.name), fmt::format("{} bytes do not fit {} [{}]", tensor.bytes.size(),
                                                 name_of(tensor.dtype), fmt::join(tensor.shape, ", ")));
  }
  total_bytes_ += tensor.bytes.size();  // each is at most the file's size: no overflow before it is refused
  if (total_bytes_ > most_bytes_) {
    refuse(tensor_text(tensor.name),
           fmt::format("with it the tensors take more than {} times the file's bytes", kMostTimes));
  }
  tensors_.push_back(std::move(tensor));
}

void ForeignTensors::add_copy(ForeignTensor tensor, std::vector<std::byte> bytes) {
  tensor.bytes = copies_.emplace_back(std::move(bytes));
  add(std::move(tensor));
}

void refuse(std::string what, std::string why) { throw DataError({.what = std::move(what), .why = std::move(why)}); }

std::string tensor_text(std::string_view name) {
  constexpr std::size_t kLongest = 200;
  std::string text = "tensor ";
  for (const char c : name.substr(0, kLongest)) {
    text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  if (name.size() > kLongest) text += "…";
  return text;
}

}  // namespace lockstep
