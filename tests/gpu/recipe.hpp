// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

// How NCCL is talked into several ranks on one GPU, which it refuses by default (docs/gpus.md).
namespace lockstep::testing {

struct Setting {
  std::string name;
  std::string value;
  friend bool operator==(const Setting&, const Setting&) = default;
};

struct Recipe {
  char letter = 'A';
  std::vector<Setting> settings;  // of the environment, before the first call of NCCL in a process
};

// Pure. A, before kVersionWithSharedGpus: each rank, a process of its own, claims to be on another host, and they talk
// over loopback sockets. B, from then on: NCCL's own switch.
[[nodiscard]] Recipe recipe_for(int nccl_version, int rank);

// Pure. "recipe A for NCCL 2.28.9: NCCL_HOSTID=vnode0 …".
[[nodiscard]] std::string to_string(const Recipe& recipe, int nccl_version);

// Sets them in this process's environment; what is set there already stays.
void apply(const Recipe& recipe);

}  // namespace lockstep::testing
