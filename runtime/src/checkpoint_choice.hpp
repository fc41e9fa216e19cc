// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/runtime/runtime.hpp"

namespace lockstep {

// Collective. Where the nodes keep this run's checkpoints; nothing without checkpoint.local_dir. A folder of the run's
// own, named by its id: another run, or this one begun anew, must not resume from what is there.
[[nodiscard]] std::optional<PartnerOptions> partner_options(Runtime::Impl& impl, std::chrono::milliseconds timeout);

struct ChosenCheckpoint {
  std::filesystem::path path;  // empty: there is none yet; on this rank's node
  std::int64_t step = 0;
  bool from_partners = false;
};

// Collective. The newest good checkpoint of the run folder and of the nodes. Damaged newer ones of the run folder are
// set aside. Throws, the same on all ranks, if there are only damaged ones.
[[nodiscard]] ChosenCheckpoint choose_checkpoint(Runtime::Impl& impl, const std::optional<PartnerOptions>& partners);

}  // namespace lockstep
