// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commands.hpp"
#include "lockstep/checkpoint/interchange.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {

namespace fs = std::filesystem;

int export_to(const std::string& given, const std::string& file, const std::string& group, bool json) {
  const Checkpoint checkpoint = open_checkpoint(given);
  export_tensors(checkpoint, group, file);
  const std::uint64_t bytes = fs::file_size(file);
  if (json) {
    print({{"checkpoint", checkpoint.path().string()}, {"file", file}, {"bytes", bytes}});
  } else {
    fmt::print("{}: {}, from {}\n", file, monitor::bytes_text(static_cast<double>(bytes)), checkpoint.path().string());
  }
  return 0;
}

int import_from(const std::string& file, const std::string& given, std::int64_t step, const std::string& group,
                bool json) {
  const fs::path folder = fs::is_directory(given) ? checkpoints_folder(given) : fs::path(given);
  const auto lock = lock_run_folder(folder);  // a job would take it for its own
  const fs::path path = import_tensors(file, group, folder, step);
  const Checkpoint checkpoint = Checkpoint::open(path);
  if (json) {
    print({{"checkpoint", path.string()}, {"tensors", checkpoint.tensors().size()}, {"bytes", checkpoint.bytes()}});
  } else {
    fmt::print("{}: {} tensors, {}\n", path.string(), checkpoint.tensors().size(),
               monitor::bytes_text(static_cast<double>(checkpoint.bytes())));
  }
  return 0;
}

}  // namespace lockstep::tool
