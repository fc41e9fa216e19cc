// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/dataloader/records.hpp"
#include "lockstep/dataloader/sample.hpp"

namespace lockstep::tool {

// A field of one sample for people to read.
struct ShownField {
  std::string dtype;                  // of its elements, once decoded
  std::vector<std::int64_t> shape{};  // of this sample
  std::string value;                  // the first few; "–" where the sample does not have the field
};

// Never throws for damaged bytes: `value` says then what is wrong with them.
[[nodiscard]] ShownField show(const StoredField& field, std::span<const std::byte> stored);

// A field that is one whole number: of "raw" or "npy" without dimensions, or as decimal text.
[[nodiscard]] std::optional<std::int64_t> whole_number(const StoredField& field, std::span<const std::byte> stored);

}  // namespace lockstep::tool
