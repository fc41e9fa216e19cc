// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/dtype.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

struct Traits {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
  bool floating;
};

// Indexed by the enum's value, which file formats fix.
constexpr std::array<Traits, 10> kTraits{{
    {DType::float64, "float64", 8, true},
    {DType::float32, "float32", 4, true},
    {DType::float16, "float16", 2, true},
    {DType::bfloat16, "bfloat16", 2, true},
    {DType::int64, "int64", 8, false},
    {DType::int32, "int32", 4, false},
    {DType::int16, "int16", 2, false},
    {DType::int8, "int8", 1, false},
    {DType::uint8, "uint8", 1, false},
    {DType::boolean, "bool", 1, false},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTraits.size(); ++i) {
    if (static_cast<std::size_t>(kTraits[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_order());

const Traits& traits(DType dtype) noexcept { return kTraits[static_cast<std::size_t>(dtype)]; }

}  // namespace

std::size_t size_of(DType dtype) noexcept { return traits(dtype).bytes; }

std::string_view name_of(DType dtype) noexcept { return traits(dtype).name; }

bool is_floating(DType dtype) noexcept { return traits(dtype).floating; }

DType dtype_from_name(std::string_view name) {
  const auto* const found = std::ranges::find(kTraits, name, &Traits::name);
  if (found != kTraits.end()) return found->dtype;
  std::string known;
  for (const auto& candidate : kTraits) known += fmt::format("{}{}", known.empty() ? "" : ", ", candidate.name);
  throw UsageError(
      {.what = fmt::format("element type \"{}\"", name), .why = "no such type", .fix = "use one of " + known});
}

}  // namespace lockstep
