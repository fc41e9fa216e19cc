// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

// The last calls of this process on all its communicators: always recorded, written to files when something fails, for
// `lockstep recorder merge` (docs/flight_recorder.md).
namespace lockstep {

// Local. Writes flight-rank-R.json of each rank of this process into `folder`, which is made if only itself is missing.
// From any thread, at any time. Throws IoError.
void dump_flight_recorder(const std::filesystem::path& folder);

// Local. Where each communicator that fails writes them by itself; empty: nowhere. LOCKSTEP_FLIGHT_DIR, where set,
// wins. lockstep::run sets it to flight/ in the run folder.
void set_flight_folder(const std::filesystem::path& folder);

// Local. Asks for the files in that same folder, from a signal handler even: they are written the next time that this
// process waits for a peer, or at once where LOCKSTEP_FLIGHT_SIGNAL is set.
void request_flight_dump() noexcept;

}  // namespace lockstep
