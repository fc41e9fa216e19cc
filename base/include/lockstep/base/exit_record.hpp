// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lockstep {

// How one rank of a job ended. Each rank leaves one as exit-<rank>.json, so that the launcher can name the first cause
// without reading mpirun's text. A rank that was killed leaves none.
struct ExitRecord {
  int rank = 0;
  int world_size = 1;
  std::string host{};
  std::int64_t pid = 0;
  int code = 0;
  std::string cause{};                // the error's text; empty when code is 0
  int died_rank = -1;                 // the peer whose death made this rank a victim; -1: none
  std::int64_t time_nanoseconds = 0;  // since the epoch; 0: now, filled in by write_exit_record
};

// Local. Writes folder/exit-<rank>.json by rename. Does nothing if the folder is gone. Never throws: it runs while
// dying.
void write_exit_record(const std::filesystem::path& folder, ExitRecord record) noexcept;

// Those that can be read, ordered by rank. Unreadable ones are left out.
[[nodiscard]] std::vector<ExitRecord> read_exit_records(const std::filesystem::path& folder);

// The record that explains the job's failure: the earliest cause; if there are only victims, the earliest of them.
// Null if every record is a success.
[[nodiscard]] const ExitRecord* first_cause(const std::vector<ExitRecord>& records) noexcept;

}  // namespace lockstep
