// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "device.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::gpu {

// Small enough for the copies and the collective of a message of many MiB to overlap, large enough for both to run at
// full speed.
inline constexpr std::size_t kStagedPieceBytes = 4 << 20;

// Collectives of memory on this rank's GPU over a backend for host memory, whose ranks and bits it has: copied to
// pinned memory and back, in pieces through two buffers where the kind of call allows it, so that copies and the
// collective overlap. Needs no NCCL, and takes several ranks on one GPU.
//
// Copies are queued on a stream of the backend's own, behind what the caller's current stream holds at start(). An
// operation is done when the device has been seen to have made the last copy back: what any stream is given after that
// sees the result, without an order between streams (join_stream() returns false: the host waits). A call that was
// started goes on when somebody advances it; over mpi only the thread that made this backend does.
//
// `piece_bytes`: the same on all ranks; smaller in tests.
[[nodiscard]] std::unique_ptr<Backend> make_staged_backend(std::shared_ptr<Device> device,
                                                           std::unique_ptr<Backend> host,
                                                           std::size_t piece_bytes = kStagedPieceBytes);

}  // namespace lockstep::comm::gpu
