// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep {

[[nodiscard]] std::string host_name();  // gethostname(2); "localhost" if that fails

}  // namespace lockstep
