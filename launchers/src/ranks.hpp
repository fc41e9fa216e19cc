// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "child.hpp"
#include "job.hpp"

namespace lockstep::launchers {

// Runs `ranks` as one job, and returns when all have ended. Signals to us mean what they mean to run_job(). When a rank
// fails, what it had started is killed, and the others get a short time to say what they know of it; then they are
// ended. Should we die, the kernel kills them. Throws IoError if one cannot be started.
JobEnd run_ranks(const std::vector<Child>& ranks);

}  // namespace lockstep::launchers
