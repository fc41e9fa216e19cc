// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>

#include "libraries.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::gpu {

// Throw BackendFailure (native) with the call, its text and, where we know it, a fix. in_progress is no failure here.
void check(const CudaApi& cuda, CudaStatus status, const char* call,
           std::source_location where = std::source_location::current());
void check(const NcclApi& nccl, NcclComm comm, NcclStatus status, const char* call,
           std::source_location where = std::source_location::current());

// The failure of a communicator on which NCCL itself has noticed an error.
[[nodiscard]] Failure nccl_failure(const NcclApi& nccl, NcclComm comm, NcclStatus status, const char* call);

}  // namespace lockstep::comm::gpu
