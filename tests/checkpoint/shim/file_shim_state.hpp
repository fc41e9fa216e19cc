// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "file_shim.hpp"

namespace lockstep::shim {

struct Call {
  const char* name = "";
  Kind kind = Kind::write;
  std::string path{};        // absolute
  std::string other_path{};  // of a rename
  long offset = 0;
  std::size_t length = 0;
  const void* bytes = nullptr;  // of a write
};

// What is to happen to the call about to be made; begin() kills, waits and fails by itself.
class Decision {
 public:
  explicit Decision(Call call);
  [[nodiscard]] bool fails() const noexcept { return fails_; }  // errno is set
  // After the call: `result` as the system gave it; errno stays.
  void done(long result);
  Call& call() noexcept { return call_; }

 private:
  Call call_;
  bool seen_ = false;
  bool fails_ = false;
  unsigned long began_at_ = 0;
};

[[nodiscard]] bool locks_fail() noexcept;

// Of a descriptor, as it is named now, "" if it has no name in a file system.
[[nodiscard]] std::string path_of(int descriptor);
// Absolute, links not followed.
[[nodiscard]] std::string path_of(int folder, const char* path);

}  // namespace lockstep::shim
