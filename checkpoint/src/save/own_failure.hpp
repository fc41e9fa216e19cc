// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// What one rank cannot do fails the save and not the job: it is noted here, this rank goes on with its part in the
// collectives, and all learn of it at the next agreement.
class OwnFailure {
 public:
  // CommError passes: without peers there is nobody to agree with.
  template <class Action>
  void note(Action&& action) {
    try {
      action();
    } catch (const CommError&) {
      throw;
    } catch (const std::exception& error) {
      add(error);
    }
  }
  [[nodiscard]] bool none() const noexcept { return text_.empty(); }
  // Collective. That of the lowest rank that has one, with the rank's name; empty: none has.
  [[nodiscard]] std::string agreed(Communicator& world) const;

 private:
  void add(const std::exception& error);
  std::string text_;  // the first
};

// Throws UsageError: a save of `step` while that of `earlier` is in flight.
[[noreturn]] void refuse_second_save(std::int64_t step, std::int64_t earlier);

}  // namespace lockstep
