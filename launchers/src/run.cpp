// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <sstream>
#include <string_view>

#include "job.hpp"
#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/exit_record.hpp"
#include "machine.hpp"
#include "mpirun_command.hpp"
#include "rank_commands.hpp"
#include "ranks.hpp"
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

// Another one for every job.
std::string new_name() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

// What is to be started: known as lines for a shell before it is.
struct Start {
  std::vector<std::string> mpirun{};  // its arguments
  std::vector<Child> ranks{};         // or, without MPI, each rank

  [[nodiscard]] std::string lines() const {
    if (ranks.empty()) return shell_line(mpirun);
    std::vector<std::string> lines;
    for (const Child& rank : ranks) lines.push_back(shell_line(as_command(rank)));
    return fmt::format("{}", fmt::join(lines, "\n"));
  }

  [[nodiscard]] JobEnd run() const {
    if (!ranks.empty()) {
      say(fmt::format("{} ranks without MPI: {}", ranks.size(), shell_line(ranks.front().command)));
      return run_ranks(ranks);
    }
    if (!on_path("mpirun")) {
      throw UsageError({.what = "mpirun",
                        .why = "it is not on PATH",
                        .fix = "lockstep run --no-mpi does without; or install Open MPI (cmake/bootstrap does)"});
    }
    say(lines());
    return run_job(mpirun);
  }
};

int ranks_of(const RunOptions& options, const Machine& machine) {
  const int ranks = options.ranks.value_or(std::max(1, static_cast<int>(machine.cores.size())));
  if (ranks >= 1) return ranks;
  throw UsageError({.what = fmt::format("-n {}", ranks), .why = "a job has at least one rank", .fix = "-n 1"});
}

Start start_of(const RunOptions& options, int ranks, const Machine& machine, const fs::path& exit_dir) {
  const bool on_terminal = isatty(STDERR_FILENO) != 0;
  if (options.no_mpi || std::string_view(LOCKSTEP_BUILT_WITH_MPI).empty()) {
    return {.ranks = rank_commands({.ranks = ranks,
                                    .cores = machine.cores,
                                    .name = new_name(),
                                    .on_terminal = on_terminal,
                                    .exit_dir = exit_dir,
                                    .program = options.program})};
  }
  return {.mpirun = mpirun_command({.ranks = ranks,
                                    .cores = static_cast<int>(machine.cores.size()),
                                    .on_terminal = on_terminal,
                                    .as_root = geteuid() == 0,
                                    .exit_dir = exit_dir,
                                    .program = options.program})};
}

}  // namespace

int run(const RunOptions& options) {
  if (options.program.empty()) {
    throw UsageError({.what = "no program was named", .fix = "lockstep run -n 2 ./program"});
  }
  const Machine machine = look_at_machine();
  const int ranks = ranks_of(options, machine);
  check_program(options.program.front());
  if (options.dry_run) {
    fmt::print("{}\n", start_of(options, ranks, machine, {}).lines());
    return 0;
  }
  const TemporaryFolder exit_records;
  const JobEnd end = start_of(options, ranks, machine, exit_records.path()).run();
  const auto verdict = judge(end, read_exit_records(exit_records.path()), ranks);
  if (!verdict.text.empty()) say(verdict.text);
  return verdict.exit_code;
}

}  // namespace lockstep::launchers
