// SPDX-License-Identifier: Apache-2.0
// The `lockstep` command. It links neither LibTorch nor MPI, so that it starts in milliseconds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "info.hpp"
#include "job.hpp"
#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/version.hpp"
#include "recorder.hpp"
#include "run.hpp"
#include "tool.hpp"

namespace lockstep::launchers {
namespace {

constexpr int kUsage = static_cast<int>(ExitCode::usage);

// Where the program of `lockstep run [flags] PROGRAM …` stands in argv, or argc. From there on nothing is ours: CLI11
// would take "info" or "--" among the program's arguments for its own.
int program_index(int argc, char** argv) {
  int index = 2;
  while (index < argc && argv[index][0] == '-') {
    const std::string_view flag = argv[index++];
    if (flag == "--") break;
    if (flag == "-n" || flag == "--ranks") ++index;  // its value
  }
  return std::min(index, argc);
}

void check_command(const CLI::App& app, std::string_view name) {
  std::vector<std::string> names;
  for (const auto* const command : app.get_subcommands({})) names.push_back(command->get_name());
  if (name.starts_with('-') || std::ranges::find(names, name) != names.end()) return;
  const auto nearest = nearest_name(name, names);
  throw UsageError({.what = fmt::format("lockstep {}", name),
                    .why = "there is no such command",
                    .fix = nearest.empty() ? "lockstep --help lists them" : "lockstep " + nearest});
}

int main_command(int argc, char** argv) {
  CLI::App app("lockstep: a distributed training runtime", "lockstep");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(version()));

  RunOptions options;
  auto* const run_command = app.add_subcommand("run", "run a training program on several ranks of this host");
  run_command->footer(
      "After the flags: the program and its arguments, which are passed on as they are:\n"
      "  lockstep run -n 2 ./fashion_mnist train.epochs=5");
  run_command->add_option("-n,--ranks", options.ranks, "number of ranks (default: one for each usable core)");
  run_command->add_flag("--dry-run", options.dry_run, "only print what would be started");
  run_command->add_flag("--no-mpi", options.no_mpi, "start the ranks without MPI (on this host; comm.backend=shm)");
  RecorderMergeOptions merge_options;
  auto* const recorder_command = app.add_subcommand("recorder", "look at what the ranks of a failed job last called");
  recorder_command->require_subcommand(1);
  auto* const merge_command = recorder_command->add_subcommand("merge", "name the rank and the call at fault");
  merge_command->add_option("folder", merge_options.folder, "with flight-rank-*.json: flight/ in the run folder")
      ->required();
  merge_command->add_flag("--json", merge_options.json, "print JSON");
  app.add_subcommand("info", "tell what was built, what this machine has, and the environment variables that count");

  app.add_subcommand("data", "pack, inspect, verify, bench and plot data sets: lockstep data --help");
  app.add_subcommand("ckpt", "list, verify, compare, exchange, prune and repair checkpoints: lockstep ckpt --help");

  if (argc > 1) check_command(app, argv[1]);
  for (const char* const tool : {"data", "ckpt"}) {
    if (argc > 1 && std::string_view(argv[1]) == tool) become_tool(tool, std::span(argv, argc).subspan(2));
  }
  int ours = argc;
  if (argc > 1 && std::string_view(argv[1]) == "run") {
    ours = program_index(argc, argv);
    options.program.assign(argv + ours, argv + argc);
  }
  try {
    app.parse(ours, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;  // --help and --version end here too
  }
  if (run_command->parsed()) return run(options);
  if (merge_command->parsed()) return merge_recorders(merge_options);
  fmt::print("{}", info_text());
  return 0;
}

}  // namespace
}  // namespace lockstep::launchers

int main(int argc, char** argv) {
  try {
    return lockstep::launchers::main_command(argc, argv);
  } catch (const lockstep::Error& error) {
    lockstep::launchers::say(error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    lockstep::launchers::say(error.what());
    return static_cast<int>(lockstep::ExitCode::internal);
  }
}
