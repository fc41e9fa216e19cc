// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lockstep/runtime/runtime.hpp>
#include <string>

// Collective. Turns the IDX files of `source` into shards below `path` (train/ and test/), unless they are there. Rank
// 0 packs, the others wait. Throws DataError if there are neither shards nor IDX files.
void prepare_data(lockstep::Runtime& rt, const std::string& path, const std::string& source);
