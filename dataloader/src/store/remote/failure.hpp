// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/base/error.hpp"

namespace lockstep::remote {

// Why something could not be had, on its way from the fetcher's thread to those who wait for it. Each of them throws an
// exception of its own: one that several threads share is destroyed by any of them, in a way that the thread sanitizer
// cannot follow into libstdc++.
struct Failure {
  ErrorText text{};
  bool of_data = false;  // DataError, else IoError

  [[noreturn]] void raise() const;
};

[[nodiscard]] Failure current_failure();  // of the exception that is being handled

}  // namespace lockstep::remote
