// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

class Checkpoint;

// What to do about names that stand on one side only.
enum class Strictness {
  error,
  report,  // listed in the LoadReport
};

struct LoadOptions {
  // Only wanted tensors whose name matches one of these globs ('*': any characters, '/' too; '?': one; '[…]': one of
  // these, as in fnmatch(3)); empty: all.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};
  // The beginning of a wanted name, and what stands there in the checkpoint: {"/model/backbone.", "/model/encoder."}.
  // The first that fits is taken.
  std::vector<std::pair<std::string, std::string>> rename = {};
  Strictness missing = Strictness::error;     // wanted, not stored
  Strictness unexpected = Strictness::error;  // stored, not wanted; only names that include and exclude select count
  Strictness mismatched = Strictness::error;  // of another shape or dtype: never loaded
  int threads = 1;
};

// A run of elements that this rank wants, and its memory. `name` as this program has it.
struct LoadTarget {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> global_shape;
  std::int64_t first_element = 0;
  std::int64_t elements = 0;
  std::byte* data = nullptr;
};

struct LoadReport {
  std::vector<std::string> loaded;      // wanted names
  std::vector<std::string> missing;     // wanted names
  std::vector<std::string> unexpected;  // stored names
  std::vector<std::string> mismatched;  // "/model/fc.weight: the checkpoint has [10, 128] float32, the program …"
};

// Local. Loads what fits. Everything is checked before anything is read; one CheckpointError names every tensor that is
// missing, unexpected or mismatched where that is an error. Reading may still fail: then the targets are worthless.
LoadReport load_tensors(const Checkpoint& checkpoint, const std::vector<LoadTarget>& targets,
                        const LoadOptions& options = {});

}  // namespace lockstep
