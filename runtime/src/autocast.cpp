// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/autocast.hpp"

#include <ATen/autocast_mode.h>
#include <fmt/format.h>

#include "lockstep/base/error.hpp"

namespace lockstep {

Autocast::Autocast(c10::Device device, c10::ScalarType dtype)
    : device_type_(device.type()),
      was_enabled_(at::autocast::is_autocast_enabled(device_type_)),
      dtype_before_(at::autocast::get_autocast_dtype(device_type_)) {
  if (dtype != at::kBFloat16 && dtype != at::kHalf) {
    throw UsageError({.what = fmt::format("Autocast to {}", c10::toString(dtype)),
                      .why = "LibTorch casts to bfloat16 and float16 only",
                      .fix = "use at::kBFloat16"});
  }
  at::autocast::set_autocast_enabled(device_type_, true);
  at::autocast::set_autocast_dtype(device_type_, dtype);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_type_, was_enabled_);
  at::autocast::set_autocast_dtype(device_type_, dtype_before_);
}

}  // namespace lockstep
