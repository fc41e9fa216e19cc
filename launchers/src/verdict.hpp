// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "job.hpp"
#include "lockstep/base/exit_record.hpp"

namespace lockstep::launchers {

struct Verdict {
  int exit_code = 0;
  std::string text{};  // one line for the user; empty after success
};

// What to tell and to return after a job of `ranks` ranks that ended as `end` says and left `records`. Pure.
[[nodiscard]] Verdict judge(const JobEnd& end, const std::vector<ExitRecord>& records, int ranks);

}  // namespace lockstep::launchers
