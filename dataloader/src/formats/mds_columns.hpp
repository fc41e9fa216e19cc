// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

// A column as MDS describes it (streaming/base/format/mds/encodings.py of mosaicml-streaming).
struct MdsColumn {
  std::string name;
  std::string encoding;    // "jpeg", "int32", "ndarray:uint8:28,28"
  std::uint64_t size = 0;  // bytes of every value; 0: each sample says its own
  friend bool operator==(const MdsColumn&, const MdsColumn&) = default;
};

struct MdsElement {
  std::string_view name;       // MDS's and NumPy's
  std::string_view npy_descr;  // in a npy header
  std::uint8_t code;           // before the values of an array without a fixed element type
  std::uint8_t bytes;
  std::optional<DType> dtype;
};

// How the values of a column are handed on: as they are, or as npy with what is known of them in its header.
struct MdsForm {
  std::string encoding;                              // StoredField's
  const MdsElement* element = nullptr;               // of "raw" and "npy"; null: each value begins with it
  std::optional<std::vector<std::int64_t>> shape{};  // of "raw" and "npy"; nothing: each value has its own
};

// Throws DataError where lockstep cannot read the encoding, or the column's size is not the encoding's.
[[nodiscard]] MdsForm form_of(const std::string& what, const MdsColumn& column);

// Appends `value`, of a column of form "npy", as a npy file. Returns why it cannot be one; empty if it can.
[[nodiscard]] std::string append_npy(const MdsForm& form, std::span<const std::byte> value,
                                     std::vector<std::byte>& buffer);

}  // namespace lockstep
