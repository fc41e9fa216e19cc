// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <string>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

inline std::string error_text(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

// For calls inside operations: what a backend throws.
inline void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  throw BackendFailure{{.kind = FailureKind::native, .why = std::string(call) + ": " + error_text(code), .fix = {}}};
}

// For set-up and teardown.
inline void check_setup(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  throw CommError({.what = call, .why = error_text(code), .fix = {}});
}

}  // namespace lockstep::comm::mpi
