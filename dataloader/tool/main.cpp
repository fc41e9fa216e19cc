// SPDX-License-Identifier: Apache-2.0
// The program behind `lockstep data`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::tool {
namespace {

constexpr int kUsage = static_cast<int>(ExitCode::usage);

// What all commands say of the data set that they read.
void add_data(CLI::App& command, DataArguments& data) {
  command.add_option("data", data.location, "a folder, one file of it, file://, http(s):// or s3://")->required();
  command.add_option("--format", data.options.format, "default: told by what is there");
  command.add_option("--files", data.options.files, "names in the folder: shard-{00000..00099}.tar")->delimiter(',');
  command.add_option("--fields", data.options.fields, "of the samples (default: all)")->delimiter(',');
  command.add_option("--tokens-per-sample", data.options.tokens_per_sample, "for the format tokens");
  command.add_option("--token-bytes", data.options.token_bytes, "for the format tokens: 2 or 4")->capture_default_str();
}

struct Arguments {
  DataArguments data;
  std::vector<std::string> sources;
  PackArguments pack;
  BenchArguments bench;
  std::string plot_file = "data.html";
  bool json = false;
};

CLI::App* add_pack(CLI::App& app, Arguments& arguments) {
  auto* const command = app.add_subcommand("pack", "write a data set anew, as tar or HDF5 shards with checksums");
  add_data(*command, arguments.data);
  command->add_option("folder", arguments.pack.folder, "to write; must not exist")->required();
  command
      ->add_option_function<std::string>(
          "--to", [&arguments](const std::string& format) { arguments.pack.hdf5 = format == "hdf5"; },
          "tar (default), or hdf5 for fields of a fixed shape")
      ->check(CLI::IsMember({"tar", "hdf5"}));
  command
      ->add_option("--compress", arguments.pack.options.compression,
                   "each field of each sample in tar shards: none (default), zstd or lz4")
      ->transform(CLI::Transformer(std::vector<std::pair<std::string, Compression>>{
          {"none", Compression::none}, {"zstd", Compression::zstd}, {"lz4", Compression::lz4}}));
  command->add_option("--shard-bytes", arguments.pack.options.shard_bytes, "a shard's most bytes (default 256MiB)")
      ->transform(CLI::AsSizeValue(true));
  return command;
}

CLI::App* add_bench(CLI::App& app, Arguments& arguments) {
  auto* const command = app.add_subcommand("bench", "how fast this machine reads, decodes and delivers the samples");
  add_data(*command, arguments.data);
  command->add_option("--threads", arguments.bench.threads, "that read and decode")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--batch", arguments.bench.batch, "samples of a batch")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  return command;
}

int main_command(int argc, char** argv) {
  CLI::App app("Looks at data sets of any format that lockstep reads, and packs them.", argv[0]);
  app.require_subcommand(1);
  Arguments arguments;
  auto* const pack_command = add_pack(app, arguments);
  auto* const inspect_command = app.add_subcommand("inspect", "tell format, counts, fields and the first sample");
  auto* const verify_command = app.add_subcommand("verify", "read every sample; exit code 1 if some are damaged");
  for (auto* const command : {inspect_command, verify_command}) {
    add_data(*command, arguments.data);
    command->add_flag("--json", arguments.json, "print JSON");
  }
  auto* const bench_command = add_bench(app, arguments);
  auto* const plot_command = app.add_subcommand("plot", "draw samples, and counts of labels and sources");
  plot_command->add_option("data", arguments.sources, "one or more data sets")->required();
  plot_command->add_option("--output", arguments.plot_file, "HTML file to write")->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (pack_command->parsed()) return pack(arguments.data, arguments.pack);
  if (inspect_command->parsed()) return inspect(arguments.data, arguments.json);
  if (verify_command->parsed()) return verify_data(arguments.data, arguments.json);
  if (bench_command->parsed()) return bench(arguments.data, arguments.bench);
  std::vector<DataArguments> sources;
  for (auto& location : arguments.sources) sources.push_back({.location = std::move(location)});
  return plot(sources, arguments.plot_file);
}

}  // namespace
}  // namespace lockstep::tool

int main(int argc, char** argv) {
  try {
    return lockstep::tool::main_command(argc, argv);
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(lockstep::ExitCode::internal);
  }
}
