// SPDX-License-Identifier: Apache-2.0
// The kernels for scalar: the reference that defines the bits. Compiled with that instruction set's flags.
#include <immintrin.h>

#include "kernels.hpp"

#define LOCKSTEP_ISA "scalar"

namespace lockstep::comm {
namespace scalar {
namespace {
#include "kernels.inc"
}
}  // namespace scalar

const KernelTable& scalar_kernels() noexcept { return scalar::kTable; }

}  // namespace lockstep::comm
