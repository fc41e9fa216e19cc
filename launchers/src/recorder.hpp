// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

namespace lockstep::launchers {

struct RecorderMergeOptions {
  std::filesystem::path folder{};
  bool json = false;
};

// `lockstep recorder merge`: prints which rank and which operation the flight recorders of a job point at, then the
// last calls of each rank. Returns 0 if the ranks agree, 1 if not. Throws UsageError for a folder without files,
// IoError for a damaged one.
int merge_recorders(const RecorderMergeOptions& options);

}  // namespace lockstep::launchers
