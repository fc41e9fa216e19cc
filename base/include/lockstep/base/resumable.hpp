// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// Something with a position that a checkpoint keeps: a data loader, a schedule, a sampler.
class Resumable {
 public:
  virtual ~Resumable() = default;
  // Local. The position as JSON, the same on every rank and at every world size.
  [[nodiscard]] virtual std::string state() const = 0;
  // Local. Goes to a position that state() gave. Throws CheckpointError if it does not fit this object.
  virtual void load_state(std::string_view state) = 0;

  // Local. What this rank found by itself since the last time it was asked, and the other ranks must know before
  // state() is saved; empty: nothing. The runtime hands it to every rank at steps that log or save.
  [[nodiscard]] virtual std::string take_findings() { return {}; }
  // Local. What rank `rank` found. Throws where the run cannot go on with that, on every rank alike.
  virtual void merge_findings(int /*rank*/, std::string_view /*findings*/) {}
};

}  // namespace lockstep
