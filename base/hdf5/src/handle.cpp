// SPDX-License-Identifier: Apache-2.0
#include "lockstep/hdf5/handle.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <type_traits>

#include "lockstep/base/error.hpp"

namespace lockstep::hdf5 {
namespace {

static_assert(std::is_same_v<hid_t, Id>);

herr_t append_description(unsigned /*depth*/, const H5E_error2_t* error, void* text) noexcept {
  auto& joined = *static_cast<std::string*>(text);
  const std::string_view description = error->desc == nullptr ? "" : error->desc;
  if (description.empty() || joined.ends_with(description)) return 0;
  if (!joined.empty()) joined += "; ";
  joined += description;
  return 0;
}

// From the call that failed down to the cause. Empties the stack.
std::string take_error_stack() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, &append_description, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 gave no reason" : text;
}

}  // namespace

std::unique_lock<std::recursive_mutex> lock() {
  static std::recursive_mutex mutex;
  std::unique_lock held(mutex);
  // After a failed write (disk full) HDF5 1.10.8 keeps a dangling identifier, which its exit handler would follow.
  // A test that fails when this may go: tests/checkpoint, FullDisk.
  static const bool no_exit_handler = H5dont_atexit() >= 0;
  // A file must not make us load code from HDF5_PLUGIN_PATH.
  static const bool plugins_off = H5PLset_loading_state(0) >= 0;
  // The error stack, and whether it prints itself, belong to the thread in a thread-safe build.
  thread_local const bool quiet = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  static_cast<void>(no_exit_handler);
  static_cast<void>(plugins_off);
  static_cast<void>(quiet);
  return held;
}

Handle& Handle::operator=(Handle&& other) noexcept {
  Handle moved(std::move(other));
  std::swap(id_, moved.id_);
  std::swap(close_, moved.close_);
  return *this;
}

Handle::~Handle() {
  if (id_ < 0) return;
  const auto held = lock();
  close_(id_);
}

void Handle::close() {
  if (id_ < 0) return;
  const auto held = lock();
  check(close_(std::exchange(id_, -1)), "close", "HDF5 handle");
}

std::int64_t check(std::int64_t result, const char* call, const std::string& subject) {
  if (result >= 0) return result;
  throw IoError({.what = fmt::format("{} {}", call, subject), .why = take_error_stack()});
}

}  // namespace lockstep::hdf5
