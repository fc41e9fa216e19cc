// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

// A library that stands between a program and the C library's calls that change files, all threads and libraries
// included (libhdf5, std::filesystem), and does one thing to those below one folder:
//   record:FILE                 appends each call, once it has succeeded, to FILE, in one order over all processes
//   kill:K                      SIGKILL to this process just before its K-th such call, counted from 0
//   fail:K:ERRNO[:TIMES]        calls K, K+1, … (TIMES of them; 1) fail with ERRNO, a number, and do nothing
//   slow:MILLISECONDS           each write and fsync takes so much longer
//   nolocks                     flock and fcntl locks fail with ENOLCK; everywhere, not only below the folder
// LD_PRELOAD it with LOCKSTEP_SHIM_FOLDER and LOCKSTEP_SHIM in the environment, or link it and call file_shim_arm().
// Calls that only read or look are not seen, nor is close.

extern "C" {
// Local. As the environment does; counting starts again. Mode "": everything passes, and calls are counted.
void file_shim_arm(const char* folder, const char* mode) noexcept;
int file_shim_calls() noexcept;  // counted since it was armed
// "fsync /path" of the first call that it made fail, "" if none. Until it is armed again.
const char* file_shim_failed() noexcept;
// Appends a note to the record of `record`, between the calls: what the program promises at this point.
void file_shim_note(const char* text) noexcept;
}

namespace lockstep::shim {

enum class Kind : std::uint32_t {
  create,    // of a file: it did not exist
  truncate,  // to `offset` bytes
  allocate,  // `length` bytes from `offset` on: grows the file
  write,     // `length` bytes at `offset`: the record's last part
  sync,      // fsync or fdatasync of a file or folder
  make_folder,
  rename,  // to the second path
  unlink,  // a file, link or empty folder
  note,    // the first path is the text
};

// A record of the log: this, the two paths, and the bytes of a write.
struct RecordHeader {
  Kind kind;
  std::uint32_t path_bytes;
  std::uint32_t other_path_bytes;
  std::uint32_t process;
  std::uint64_t began_at;  // size of the log when the call began: a sync speaks of what stands before
  std::int64_t offset;
  std::uint64_t length;
};

}  // namespace lockstep::shim
