// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "host_calls.hpp"
#include "nccl_api.hpp"

// How NCCL communicators come and go. They are made in rounds: every rank tells the others over the host how far it
// is, so that a failure on one is known to all, by its number, and none waits for a rank that will not come.
namespace lockstep::comm::gpu {

// Collective over `host`. All throw the same BackendFailure, naming the ranks that failed or were late.
[[nodiscard]] NcclComm make_nccl_comm(HostCalls& host, NcclApi& nccl);
// Collective over `host`, whose ranks are those of `comm`. Null for a negative color.
[[nodiscard]] NcclComm split_nccl_comm(HostCalls& host, NcclApi& nccl, NcclComm comm, int color, int key);
// Collective over `host`: the ranks of `comm`, which was revoked, without those `excluded`.
[[nodiscard]] NcclComm shrink_nccl_comm(HostCalls& host, NcclApi& nccl, NcclComm comm, std::span<const int> excluded);

// Collective over its ranks: waits until all of its calls are done, then frees it.
void close_nccl_comm(NcclApi& nccl, NcclComm comm, std::chrono::milliseconds timeout);
// Local. Frees it whatever state it is in; does not wait for one that hangs.
void abandon_nccl_comm(NcclApi& nccl, NcclComm comm) noexcept;

}  // namespace lockstep::comm::gpu
