// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lockstep {

// What a pickle builds, by index: values may hold each other in circles, so they are not owned by each other.
struct PickleValue {
  enum class Kind : std::uint8_t { other, number, text, sequence, dictionary, global, storage, tensor };
  enum class Global : std::uint8_t { ordered_dict, rebuild_tensor, rebuild_parameter, size, storage };
  Kind kind = Kind::other;
  Global global = Global::size;      // of a global
  std::int64_t number = 0;           // of a number; of a global that is a storage, and of a storage: its DType
  std::string_view text{};           // lies in the pickle; of a storage: its key
  std::vector<std::uint32_t> items;  // of a dictionary: key, value, key, value …; of a storage: its elements;
                                     // of a tensor: storage, offset, shape, strides
};

struct Pickle {
  std::vector<PickleValue> values;
  std::uint32_t root = 0;
};

// Throws DataError.
[[nodiscard]] Pickle parse_pickle(std::span<const std::byte> bytes);

}  // namespace lockstep
