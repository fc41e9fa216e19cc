// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libraries.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {

// Where liblockstep_gpu.so may be: by its name alone, on the program's run path; then beside the program.
[[nodiscard]] std::vector<std::string> plugin_files();

// Opens the first of `files` that there is. Throws UsageError.
[[nodiscard]] const Libraries& open_plugin(std::span<const std::string> files);

// Pure. What the loader's text (dlerror) means for those who must act on it.
[[nodiscard]] ErrorText explain_loader(std::string_view text);

}  // namespace lockstep::comm::gpu
