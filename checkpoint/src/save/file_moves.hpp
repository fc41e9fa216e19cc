// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/own_failure.hpp"

namespace lockstep {

// A file that one rank has and another one lacks.
struct FileMove {
  std::size_t file = 0;  // index into Manifest::files
  int from = 0;
  int to = 0;
};

// Collective. Carries out `moves`, the same list on every rank, at most some pieces at a time in memory. `source`:
// where this rank has file i; `target`: where it is to be, and is not. What arrives is compared with the manifest's
// CRC-32Cs and is durable on return. What this rank cannot read or write goes to `failure`, and the others' files still
// arrive.
void move_files(Communicator& world, const Manifest& manifest, const std::vector<FileMove>& moves,
                const std::function<std::filesystem::path(std::size_t)>& source,
                const std::function<std::filesystem::path(std::size_t)>& target, OwnFailure& failure);

}  // namespace lockstep
