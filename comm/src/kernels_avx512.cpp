// SPDX-License-Identifier: Apache-2.0
// The kernels for avx512. Compiled with that instruction set's flags.
#include <immintrin.h>

#include "kernels.hpp"

#define LOCKSTEP_ISA "avx512"

namespace lockstep::comm {
namespace avx512 {
namespace {
#include "kernels.inc"
}
}  // namespace avx512

const KernelTable& avx512_kernels() noexcept { return avx512::kTable; }

}  // namespace lockstep::comm
