// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include "lockstep/comm/communicator.hpp"

// What a communicator for memory on GPUs must show beside one for the host, whichever way the memory travels.
namespace lockstep::testing {

// Collective. Every reduction of every dtype in tree order, at many sizes: the bits of `host`.
void check_reductions(Communicator& gpu, Communicator& host, c10::Device device);
// Collective. Sums of float32 in any order: within what reordering can change.
void check_any_order(Communicator& gpu, Communicator& host, c10::Device device);
// Collective. The sum over 12 leaves has the bits of `host`, so the same ones at any number of ranks.
void check_fixed_leaves_on_device(Communicator& gpu, Communicator& host, c10::Device device);
// Collective. Every kind of call that moves data.
void check_moves(Communicator& gpu, Communicator& host, c10::Device device);
// Collective. Groups with reversed ranks, and of one rank each.
void check_splits_of_device(Communicator& gpu, c10::Device device);
// Collective. What a stream queues before a call is in it, what it queues after wait() sees the result, on the default
// stream and on another one; the host waits for nothing in between.
void check_stream_order(Communicator& gpu, c10::Device device);

}  // namespace lockstep::testing
