// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry; LOCKSTEP_FUZZ_TARGET names the target. Built by `run`.
#include <cstddef>
#include <cstdint>

#include "targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lockstep::fuzz::LOCKSTEP_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
