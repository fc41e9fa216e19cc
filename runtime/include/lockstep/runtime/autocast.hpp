// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace lockstep {

// While it lives, LibTorch runs what gains by it (matrix products, convolutions) on `device` in `dtype`, and what needs
// its range (losses, sums) in float32; parameters and gradients stay float32. Around forward and loss, not around
// backward:
//   const auto scores = [&] { const lockstep::Autocast autocast(rt.device()); return model.forward(batch.data); }();
// Local; of the calling thread; scopes nest, and each restores what it found. The casts of parameters are kept until
// the outermost ends. Throws UsageError for a dtype other than bfloat16 and float16. In float16 small gradients vanish
// unless the loss is scaled, and lockstep has no GradScaler: prefer bfloat16.
class Autocast {
 public:
  explicit Autocast(c10::Device device, c10::ScalarType dtype = c10::ScalarType::BFloat16);
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast();

 private:
  c10::DeviceType device_type_;
  bool was_enabled_;
  c10::ScalarType dtype_before_;
};

}  // namespace lockstep
