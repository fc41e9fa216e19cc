// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/base/dtype.hpp"
#include "lockstep/hdf5/handle.hpp"

namespace lockstep::hdf5 {

// The type of `dtype` in the file and in memory: being equal, HDF5 converts nothing. The caller holds lock().
[[nodiscard]] Handle type_of(DType dtype);

[[nodiscard]] Handle string_type();  // UTF-8 of any length: h5py's str

}  // namespace lockstep::hdf5
