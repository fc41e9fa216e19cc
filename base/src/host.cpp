// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/host.hpp"

#include <unistd.h>

#include <array>
#include <climits>

namespace lockstep {

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return gethostname(name.data(), HOST_NAME_MAX) == 0 ? name.data() : "localhost";
}

}  // namespace lockstep
