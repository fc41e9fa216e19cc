// SPDX-License-Identifier: Apache-2.0
#include "file_shim_state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

// The system is called by syscall() throughout: the C library's functions are those that this library replaces.
namespace lockstep::shim {
namespace {

enum class Mode { pass, record, kill, fail, slow, no_locks };

struct State {
  Mode mode = Mode::pass;
  std::string folder;  // empty: nothing is seen
  int log = -1;
  long from = 0;   // call number of kill and fail
  long times = 1;  // calls that fail
  int error = 0;   // errno
  long delay_ms = 0;
  std::atomic<int> calls = 0;
  std::atomic<bool> has_failed = false;
  std::array<char, PATH_MAX + 32> failed{};
};

State& state() {
  static State* const the_state = new State;  // never destroyed: threads may outlive main()
  return *the_state;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// A number and the colon behind it.
long take_number(std::string_view& text, long otherwise) {
  if (text.empty()) return otherwise;
  const std::size_t colon = text.find(':');
  const long number = std::strtol(std::string(text.substr(0, colon)).c_str(), nullptr, 10);
  text.remove_prefix(colon == std::string_view::npos ? text.size() : colon + 1);
  return number;
}

[[noreturn]] void refuse(const char* what) {
  std::fprintf(stderr, "file_shim: bad %s in the environment or file_shim_arm()\n", what);
  std::abort();
}

void set_mode(State& state, std::string_view mode) {
  state.mode = Mode::pass;
  if (mode.empty()) return;
  if (take_prefix(mode, "record:")) {
    state.log =
        static_cast<int>(syscall(SYS_open, std::string(mode).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (state.log < 0) refuse("log");
    state.mode = Mode::record;
  } else if (take_prefix(mode, "kill:")) {
    state.from = take_number(mode, 0);
    state.mode = Mode::kill;
  } else if (take_prefix(mode, "fail:")) {
    state.from = take_number(mode, 0);
    state.error = static_cast<int>(take_number(mode, EIO));
    state.times = take_number(mode, 1);
    state.mode = Mode::fail;
  } else if (take_prefix(mode, "slow:")) {
    state.delay_ms = take_number(mode, 0);
    state.mode = Mode::slow;
  } else if (mode == "nolocks") {
    state.mode = Mode::no_locks;
  } else {
    refuse("mode");
  }
}

// The folder itself, too: it may be fsynced.
bool below(const State& state, const std::string& path) {
  const std::size_t bytes = state.folder.size();
  return bytes > 0 && path.starts_with(state.folder) && (path.size() == bytes || path[bytes] == '/');
}

unsigned long log_bytes(const State& state) {
  struct stat status {};
  return syscall(SYS_fstat, state.log, &status) == 0 ? static_cast<unsigned long>(status.st_size) : 0;
}

// One call of writev on a file open for appending: records of several processes do not mix.
void append(const State& state, const Call& call, unsigned long began_at) {
  RecordHeader header{.kind = call.kind,
                      .path_bytes = static_cast<std::uint32_t>(call.path.size()),
                      .other_path_bytes = static_cast<std::uint32_t>(call.other_path.size()),
                      .process = static_cast<std::uint32_t>(syscall(SYS_getpid)),
                      .began_at = began_at,
                      .offset = call.offset,
                      .length = call.length};
  const std::array<iovec, 4> parts{{{&header, sizeof header},
                                    {const_cast<char*>(call.path.data()), call.path.size()},
                                    {const_cast<char*>(call.other_path.data()), call.other_path.size()},
                                    {const_cast<void*>(call.bytes), call.kind == Kind::write ? call.length : 0}}};
  std::size_t all = 0;
  for (const iovec& part : parts) all += part.iov_len;
  if (syscall(SYS_writev, state.log, parts.data(), parts.size()) != static_cast<long>(all)) refuse("log: not written");
}

void sleep_ms(long milliseconds) {
  timespec left{.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

__attribute__((constructor)) void arm_from_environment() {
  const char* const folder = std::getenv("LOCKSTEP_SHIM_FOLDER");
  const char* const mode = std::getenv("LOCKSTEP_SHIM");
  if (folder != nullptr && mode != nullptr) file_shim_arm(folder, mode);
}

}  // namespace

Decision::Decision(Call call) : call_(std::move(call)) {
  State& state = shim::state();
  seen_ = below(state, call_.path) || below(state, call_.other_path);
  if (!seen_) return;
  const int number = state.calls++;
  if (state.mode == Mode::kill && number == state.from) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  if (state.mode == Mode::slow && (call_.kind == Kind::write || call_.kind == Kind::sync)) sleep_ms(state.delay_ms);
  if (state.mode == Mode::record) began_at_ = log_bytes(state);
  if (state.mode == Mode::fail && number >= state.from && number - state.from < state.times) {
    if (!state.has_failed.exchange(true)) {
      std::snprintf(state.failed.data(), state.failed.size(), "%s %s", call_.name, call_.path.c_str());
    }
    fails_ = true;
    errno = state.error;
  }
}

void Decision::done(long result) {
  const int error = errno;
  const State& state = shim::state();
  if (seen_ && state.mode == Mode::record && result >= 0) append(state, call_, began_at_);
  errno = error;
}

bool locks_fail() noexcept { return state().mode == Mode::no_locks; }

std::string path_of(int descriptor) {
  std::array<char, PATH_MAX> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const int error = errno;
  const long bytes = syscall(SYS_readlink, link.c_str(), target.data(), target.size());
  errno = error;
  return bytes > 0 && target[0] == '/' ? std::string(target.data(), static_cast<std::size_t>(bytes)) : std::string();
}

std::string path_of(int folder, const char* path) {
  if (path[0] == '/') return path;
  std::array<char, PATH_MAX> current{};
  std::string base = folder != AT_FDCWD                                        ? path_of(folder)
                     : syscall(SYS_getcwd, current.data(), current.size()) > 0 ? std::string(current.data())
                                                                               : std::string();
  return base + "/" + path;
}

}  // namespace lockstep::shim

void file_shim_arm(const char* folder, const char* mode) noexcept {
  lockstep::shim::State& state = lockstep::shim::state();
  if (state.log >= 0) syscall(SYS_close, std::exchange(state.log, -1));
  state.folder = folder;
  state.calls = 0;
  state.failed[0] = '\0';
  state.has_failed = false;
  set_mode(state, mode);
}

int file_shim_calls() noexcept { return lockstep::shim::state().calls; }

const char* file_shim_failed() noexcept { return lockstep::shim::state().failed.data(); }

void file_shim_note(const char* text) noexcept {
  using namespace lockstep::shim;
  if (state().mode == Mode::record) append(state(), {.kind = Kind::note, .path = text}, log_bytes(state()));
}
