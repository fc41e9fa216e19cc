// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep::launchers {

// `lockstep info`: what was built, what this machine has, and the environment variables that lockstep reads.
[[nodiscard]] std::string info_text();

}  // namespace lockstep::launchers
