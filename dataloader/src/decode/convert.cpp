// SPDX-License-Identifier: Apache-2.0
#include "decode/convert.hpp"

#include <cstring>
#include <type_traits>

namespace lockstep {
namespace {

template <typename Stored, typename Delivered>
void convert(const std::byte* from, void* to, std::int64_t elements, [[maybe_unused]] float scale,
             [[maybe_unused]] float offset) {
  const bool scaled = std::is_same_v<Delivered, float> && (scale != 1.0F || offset != 0.0F);
  if (std::is_same_v<Stored, Delivered> && !scaled) {  // the same bits: x · 1 + 0 would change −0
    std::memcpy(to, from, static_cast<std::size_t>(elements) * sizeof(Stored));
  } else {
    auto* const out = static_cast<Delivered*>(to);
    for (std::int64_t i = 0; i < elements; ++i, from += sizeof(Stored)) {
      Stored stored;
      std::memcpy(&stored, from, sizeof(Stored));
      if constexpr (std::is_same_v<Delivered, float>) {
        out[i] = static_cast<float>(stored) * scale + offset;
      } else {
        out[i] = static_cast<Delivered>(stored);
      }
    }
  }
}

template <typename Stored>
Convert* converter_from(DType delivered) noexcept {
  if (delivered == DType::float32) {
    return convert<Stored, float>;
  }
  if constexpr (std::is_integral_v<Stored>) {
    if (delivered == DType::int64) {
      return convert<Stored, std::int64_t>;
    }
  }
  return nullptr;
}

}  // namespace

Convert* converter(DType stored, DType delivered) noexcept {
  switch (stored) {
    case DType::float64:
      return converter_from<double>(delivered);
    case DType::float32:
      return converter_from<float>(delivered);
    case DType::int64:
      return converter_from<std::int64_t>(delivered);
    case DType::int32:
      return converter_from<std::int32_t>(delivered);
    case DType::int16:
      return converter_from<std::int16_t>(delivered);
    case DType::int8:
      return converter_from<std::int8_t>(delivered);
    case DType::uint8:
      return converter_from<std::uint8_t>(delivered);
    case DType::float16:
    case DType::bfloat16:
    case DType::boolean:
      break;
  }
  return nullptr;
}

Convert* unsigned_converter(std::size_t bytes, DType delivered) noexcept {
  return bytes == sizeof(std::uint16_t) ? converter_from<std::uint16_t>(delivered)
                                        : converter_from<std::uint32_t>(delivered);
}

}  // namespace lockstep
