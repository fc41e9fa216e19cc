// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "lockstep/comm/backend.hpp"
#include "node_layout.hpp"

namespace lockstep::comm {

// Whether two levels move less than one does: ranks on several nodes, several of them on at least one.
[[nodiscard]] bool gains_from_nodes(const NodeLayout& layout);

// Collective. Two levels: `inner` among the ranks of a node, in the order of `flat`, and `flat` between nodes. `flat`
// has all ranks, which lie on nodes as `layout` says; inner's rank is the local rank.
[[nodiscard]] std::unique_ptr<Backend> make_nodes_backend(std::unique_ptr<Backend> flat, std::unique_ptr<Backend> inner,
                                                          const NodeLayout& layout);

}  // namespace lockstep::comm
