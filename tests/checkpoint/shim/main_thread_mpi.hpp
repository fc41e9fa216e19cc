// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

// Every MPI function that comm/ calls, in the place of MPI's own (wrap_mpi.py writes them), passes here first.
namespace lockstep::testing {

inline std::atomic<long> mpi_calls = 0;

// What happens to a call from another thread than the main one. Default: the process ends with the function's name.
using WrongThread = void (*)(const char* function);
WrongThread on_wrong_thread(WrongThread action);  // returns the one before

void check_mpi_thread(const char* function);

}  // namespace lockstep::testing
