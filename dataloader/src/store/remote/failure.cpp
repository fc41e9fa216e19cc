// SPDX-License-Identifier: Apache-2.0
#include "store/remote/failure.hpp"

#include <exception>

namespace lockstep::remote {

void Failure::raise() const {
  if (of_data) throw DataError(text);
  throw IoError(text);
}

Failure current_failure() {
  try {
    throw;
  } catch (const DataError& error) {
    return {.text = error.text(), .of_data = true};
  } catch (const Error& error) {
    return {.text = error.text()};
  } catch (const std::exception& error) {
    return {.text = {.what = "read remote data", .why = error.what()}};
  }
}

}  // namespace lockstep::remote
