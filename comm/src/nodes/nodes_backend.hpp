// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Whether two levels move less than one does: ranks on several nodes, those of each neighbours, and several of them on
// at least one.
[[nodiscard]] bool gains_from_nodes(const std::vector<Peer>& peers);

// Collective. Two levels: `flat` has all ranks, those of a node neighbours; `inner` those of this rank's node in the
// same order.
[[nodiscard]] std::unique_ptr<Backend> make_nodes_backend(std::unique_ptr<Backend> flat,
                                                          std::unique_ptr<Backend> inner);

}  // namespace lockstep::comm
