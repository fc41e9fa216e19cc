// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "order/sample_stream.hpp"

namespace lockstep {

// What a checkpoint keeps of a loader: docs/checkpoint_format.md, "The loader's state".
struct LoaderState {
  std::uint64_t seed = 0;
  StreamPosition position;
  std::vector<DamagedEntry> damaged;
};

[[nodiscard]] std::string to_json_text(const LoaderState& state, const std::vector<Source>& sources,
                                       const SampleStream& stream);

// The state for these sources: those that it does not know start at their beginning. Throws CheckpointError: not a
// state, another seed, another content of a source, a position that does not exist.
[[nodiscard]] LoaderState from_json_text(std::string_view text, std::uint64_t seed, const std::vector<Source>& sources,
                                         const SampleStream& stream);

// The entries alone, for other ranks. Throws CheckpointError for a text that is not one of these.
[[nodiscard]] std::string to_json_text(const std::vector<DamagedEntry>& damaged);
[[nodiscard]] std::vector<DamagedEntry> damaged_from_json_text(std::string_view text);

}  // namespace lockstep
