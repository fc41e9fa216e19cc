// SPDX-License-Identifier: Apache-2.0
// The kernels for avx2. Compiled with that instruction set's flags.
#include <immintrin.h>

#include "kernels.hpp"

#define LOCKSTEP_ISA "avx2"

namespace lockstep::comm {
namespace avx2 {
namespace {
#include "kernels.inc"
}
}  // namespace avx2

const KernelTable& avx2_kernels() noexcept { return avx2::kTable; }

}  // namespace lockstep::comm
