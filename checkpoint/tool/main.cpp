// SPDX-License-Identifier: Apache-2.0
// The program behind `lockstep ckpt`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <string>
#include <thread>

#include "commands.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::tool {
namespace {

constexpr int kUsage = static_cast<int>(ExitCode::usage);

struct Arguments {
  std::string path;
  std::string other;
  std::string group;
  std::int64_t step = 0;
  bool verify = false;
  bool values = false;
  bool smaller_is_better = false;
  PruneArguments prune;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  bool json = false;
};

CLI::App* add_command(CLI::App& app, Arguments& arguments, const char* name, const char* help, const char* path,
                      const char* path_help) {
  auto* const command = app.add_subcommand(name, help);
  command->add_option(path, arguments.path, path_help)->required();
  command->add_flag("--json", arguments.json, "print JSON");
  return command;
}

void add_threads(CLI::App& command, Arguments& arguments) {
  command.add_option("--threads", arguments.threads, "that read (default: one for each core)")
      ->check(CLI::Range(1, 1024));
}

CLI::App* add_prune(CLI::App& app, Arguments& arguments) {
  constexpr auto kMost = std::numeric_limits<int>::max();
  auto* const command = add_command(app, arguments, "prune", "remove checkpoints that no rule keeps", "folder",
                                    "a run folder or one of checkpoints");
  RetentionPolicy& policy = arguments.prune.policy;
  command->add_option("--keep-last", policy.keep_last, "the newest (default with other rules: 1)")
      ->check(CLI::Range(1, kMost));
  command->add_option("--keep-every", policy.keep_every, "those whose step is a multiple")->check(CLI::PositiveNumber);
  command->add_option("--keep-best", policy.keep_best, "the best by --metric")->check(CLI::PositiveNumber);
  command->add_option("--metric", policy.metric, "of --keep-best")->capture_default_str();
  command->add_flag("--smaller-is-better", arguments.smaller_is_better, "of --metric: a loss, say");
  command->add_option("--quota", policy.quota_bytes, "bytes that all may take together: 200GiB")
      ->transform(CLI::AsSizeValue(true));
  command->add_flag("--dry-run", arguments.prune.dry_run, "only tell what would be removed");
  add_threads(*command, arguments);
  return command;
}

struct Commands {
  CLI::App* ls;
  CLI::App* show;
  CLI::App* verify;
  CLI::App* diff;
  CLI::App* export_to;
  CLI::App* import_from;
  CLI::App* prune;
  CLI::App* repair;
};

Commands add_commands(CLI::App& app, Arguments& arguments) {
  constexpr const char* kFolder = "a run folder or one of checkpoints";
  constexpr const char* kOne = "a checkpoint, or a folder for its newest";
  Commands commands{};
  commands.ls = add_command(app, arguments, "ls", "list checkpoints; exit code 1 if one is damaged", "folder", kFolder);
  commands.ls->add_flag("--verify", arguments.verify, "read every byte");
  add_threads(*commands.ls, arguments);
  commands.show = add_command(app, arguments, "show", "tell what a checkpoint holds", "checkpoint", kOne);
  commands.show->add_flag("--values", arguments.values, "read the tensors, too: range, mean, NaNs");
  commands.verify = add_command(app, arguments, "verify", "read every byte; exit code 1 if some are damaged", "path",
                                "a checkpoint, or a folder for all of its checkpoints");
  add_threads(*commands.verify, arguments);
  commands.diff = add_command(app, arguments, "diff", "compare tensors; exit code 1 if they differ", "left", kOne);
  commands.diff->add_option("right", arguments.other, kOne)->required();
  commands.export_to =
      add_command(app, arguments, "export", "write tensors to .safetensors, .pt or .h5", "checkpoint", kOne);
  commands.export_to->add_option("file", arguments.other, "to write; must not exist")->required();
  commands.import_from = add_command(app, arguments, "import", "make a checkpoint of a .safetensors, .pt or .h5 file",
                                     "file", "to read; nothing of it is run");
  commands.import_from->add_option("folder", arguments.other, kFolder)->required();
  commands.import_from->add_option("--step", arguments.step, "of the checkpoint")
      ->required()
      ->check(CLI::NonNegativeNumber);
  for (auto* const command : {commands.export_to, commands.import_from}) {
    command->add_option("--group", arguments.group, "beginning of the tensors' names: model (default: none)");
  }
  commands.prune = add_prune(app, arguments);
  commands.repair = add_command(app, arguments, "repair", "rebuild what can be, set the rest aside", "folder", kFolder);
  add_threads(*commands.repair, arguments);
  return commands;
}

int main_command(int argc, char** argv) {
  CLI::App app("Lists, verifies, compares, exchanges, prunes and repairs checkpoints.", argv[0]);
  app.require_subcommand(1);
  Arguments arguments;
  const Commands commands = add_commands(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const auto& [path, other, group, step, with_verify, values, smaller, policy, threads, json] = arguments;
  if (commands.ls->parsed()) return ls(path, with_verify, threads, json);
  if (commands.show->parsed()) return show(path, values, json);
  if (commands.verify->parsed()) return verify(path, threads, json);
  if (commands.diff->parsed()) return diff(path, other, json);
  if (commands.export_to->parsed()) return export_to(path, other, group, json);
  if (commands.import_from->parsed()) return import_from(path, other, step, group, json);
  if (commands.repair->parsed()) return repair(path, threads, json);
  PruneArguments prune_arguments = policy;
  prune_arguments.folder = path;
  prune_arguments.threads = threads;
  prune_arguments.policy.larger_is_better = !smaller;
  return prune(prune_arguments, json);
}

}  // namespace
}  // namespace lockstep::tool

int main(int argc, char** argv) {
  try {
    const int code = lockstep::tool::main_command(argc, argv);
    // A report that a full disk has swallowed must not look like a good one.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      throw lockstep::IoError({.what = "write to standard output", .why = std::strerror(errno), .fix = "make room"});
    }
    return code;
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(lockstep::ExitCode::internal);
  }
}
