// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <source_location>
#include <string>
#include <utility>

namespace lockstep::hdf5 {

using Id = std::int64_t;  // hid_t, checked in handle.cpp, so that this header needs no <hdf5.h>

// The library is not thread-safe in every build: every call into it, ours and the destructor's, holds this lock.
// Recursive, because destructors run while it is held.
[[nodiscard]] std::unique_lock<std::recursive_mutex> lock();

// Owner of one HDF5 identifier of any kind; closes it with the function of its kind. Null state: -1.
// A failure to close is ignored here: who writes a file closes it by close(), which throws.
class Handle {
 public:
  using Close = int (*)(Id);
  Handle() noexcept = default;
  Handle(Id id, Close how) noexcept : id_(id), close_(how) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  ~Handle();
  [[nodiscard]] Id get() const& noexcept { return id_; }
  Id get() && = delete;
  void close();  // Throws IoError.

 private:
  Id id_ = -1;
  Close close_ = nullptr;
};

// Returns `result` if it is not negative; else throws IoError with the call's name and HDF5's error stack.
// Use: check(H5Fopen(…), "H5Fopen", path).
std::int64_t check(std::int64_t result, const char* call, const std::string& subject);

}  // namespace lockstep::hdf5
