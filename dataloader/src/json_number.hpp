// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

namespace lockstep {

// A whole number of at most 64 bits. Throws json::type_error for any other value: nlohmann-json would convert 1e90 too,
// which is undefined.
template <typename T = std::int64_t>
[[nodiscard]] T whole_number(const nlohmann::json& value) {
  if (!value.is_number_integer()) {
    throw nlohmann::json::type_error::create(302, "a whole number was expected, not " + value.dump(), &value);
  }
  return value.get<T>();
}

}  // namespace lockstep
