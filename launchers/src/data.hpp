// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace lockstep::launchers {

// `lockstep data …`: becomes the program lockstep-data that lies beside this one, because that one links the readers of
// all formats. Only returns by an error: UsageError where the program is missing, IoError where it does not start.
[[noreturn]] void become_data_tool(std::span<char*> arguments);

}  // namespace lockstep::launchers
