// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

namespace lockstep::launchers {

// `lockstep data …` and `lockstep ckpt …`: becomes the program lockstep-<name> that lies beside this one, because that
// one links what this one is to start without. Only returns by an error: UsageError where the program is missing,
// IoError where it does not start.
[[noreturn]] void become_tool(const std::string& name, std::span<char*> arguments);

}  // namespace lockstep::launchers
