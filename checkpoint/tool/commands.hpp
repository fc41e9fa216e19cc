// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/checkpoint/retention.hpp"

namespace lockstep::tool {

inline constexpr int kDiffers = 1;  // the exit code; also: something is damaged. From 2 on it could not be judged

// Each command prints to standard output and returns the exit code. They throw lockstep::Error. A path is that of a
// checkpoint, of a folder of checkpoints, or of a run folder; where one checkpoint is meant, a folder stands for its
// newest.

// Every checkpoint of a folder; kDiffers if one is damaged.
int ls(const std::string& folder, bool verify, int threads, bool json);

// What MANIFEST says, and with `values` what the tensors' elements are like.
int show(const std::string& checkpoint, bool values, bool json);

// Every byte of a checkpoint, or of all of a folder.
int verify(const std::string& path, int threads, bool json);

int diff(const std::string& left, const std::string& right, bool json);

int export_to(const std::string& checkpoint, const std::string& file, const std::string& group, bool json);
int import_from(const std::string& file, const std::string& folder, std::int64_t step, const std::string& group,
                bool json);

struct PruneArguments {
  std::string folder;
  RetentionPolicy policy{};
  bool dry_run = false;
  int threads = 1;
};
int prune(const PruneArguments& arguments, bool json);

// kDiffers if a checkpoint could not be repaired and was set aside.
int repair(const std::string& folder, int threads, bool json);

}  // namespace lockstep::tool
