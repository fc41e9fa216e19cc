// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "lockstep/dataloader/records.hpp"

namespace lockstep::tool {

// A field of one sample as a small PNG in a data: URL; nothing where the field is no picture (jpg, png, or uint8 in
// [height, width], [1 or 3, height, width] or [height, width, 1 or 3]). Throws DamagedSample.
[[nodiscard]] std::optional<std::string> picture_url(const StoredField& field, std::span<const std::byte> stored);

}  // namespace lockstep::tool
