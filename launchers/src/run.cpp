// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "job.hpp"
#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/exit_record.hpp"
#include "machine.hpp"
#include "mpirun_command.hpp"
#include "verdict.hpp"

namespace lockstep::launchers {
namespace {

namespace fs = std::filesystem;

bool is_executable(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

bool on_path(const std::string& name) {
  std::istringstream folders(environment_variable("PATH").value_or("/usr/bin:/bin"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (is_executable(fs::path(folder.empty() ? "." : folder) / name)) return true;
  }
  return false;
}

// Before mpirun does, because of its many ways to say it.
void check_program(const std::string& program) {
  const auto refuse = [&](std::string why, std::string fix) {
    throw UsageError({.what = fmt::format("program \"{}\"", program), .why = std::move(why), .fix = std::move(fix)});
  };
  if (program.find('/') == std::string::npos) {
    if (on_path(program)) return;
    if (fs::exists(program)) refuse("it is in this folder, which is not on PATH", "write ./" + program);
    refuse("it is not on PATH", "give the path of the program, such as build/release/bin/" + program);
  }
  if (!fs::exists(program)) refuse("there is no such file", "check the path; is the program built?");
  if (!is_executable(program)) refuse("it is not an executable file", "give the program itself, or chmod +x it");
}

// A private folder that is removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto name = (fs::temp_directory_path() / "lockstep-run-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw IoError({.what = fmt::format("making a temporary folder {}", name), .why = std::strerror(errno)});
    }
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

}  // namespace

int run(const RunOptions& options) {
  if (options.program.empty()) {
    throw UsageError({.what = "no program was named", .fix = "lockstep run -n 2 ./program"});
  }
  MpirunJob job{.cores = look_at_machine().usable_cores,
                .on_terminal = isatty(STDERR_FILENO) != 0,
                .as_root = geteuid() == 0,
                .program = options.program};
  job.ranks = options.ranks.value_or(job.cores);
  if (job.ranks < 1) {
    throw UsageError({.what = fmt::format("-n {}", job.ranks), .why = "a job has at least one rank", .fix = "-n 1"});
  }
  check_program(options.program.front());
  if (options.dry_run) {
    fmt::print("{}\n", shell_line(mpirun_command(job)));
    return 0;
  }
  if (!on_path("mpirun")) {
    throw UsageError({.what = "mpirun",
                      .why = "it is not on PATH",
                      .fix = "install Open MPI (cmake/bootstrap does), or run the program itself with "
                             "comm.backend=local run.ranks=N, which needs no MPI"});
  }
  const TemporaryFolder exit_records;
  job.exit_dir = exit_records.path();
  const auto command = mpirun_command(job);
  say(shell_line(command));
  const auto end = run_job(command);
  const auto verdict = judge(end, read_exit_records(exit_records.path()), job.ranks);
  if (!verdict.text.empty()) say(verdict.text);
  return verdict.exit_code;
}

}  // namespace lockstep::launchers
