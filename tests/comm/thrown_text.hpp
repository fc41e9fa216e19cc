// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include "lockstep/base/error.hpp"

namespace lockstep::testing {

// The text of the E that `call` throws.
template <class E, class Call>
ErrorText text_of(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.text();
  }
  ADD_FAILURE() << "it did not throw";
  return {};
}

}  // namespace lockstep::testing
