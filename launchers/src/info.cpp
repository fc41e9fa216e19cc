// SPDX-License-Identifier: Apache-2.0
#include "info.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <string_view>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/version.hpp"
#include "machine.hpp"

namespace lockstep::launchers {

std::string info_text() {
  const auto machine = look_at_machine();
  std::string text;
  const auto row = [&](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(text), "{:<10}{}\n", name, value);
  };
  row("lockstep", version());
  row("compiler", LOCKSTEP_BUILT_WITH_COMPILER);
  row("LibTorch", LOCKSTEP_BUILT_WITH_LIBTORCH);
  const std::string_view mpi = LOCKSTEP_BUILT_WITH_MPI;
  row("MPI", mpi.empty() ? "none: built with LOCKSTEP_MPI=OFF" : mpi);
  row("HDF5", LOCKSTEP_BUILT_WITH_HDF5);
  row("backends", mpi.empty() ? "local, shm" : "local, shm, mpi");
  text += "\n";
  row("host", machine.host);
  row("CPU", machine.cpu_model);
  row("CPUs",
      fmt::format("{}, usable here: {} ({} cores for ranks)", machine.cpus, machine.usable_cpus, machine.cores.size()));
  row("memory", fmt::format("{:.1f} GiB", static_cast<double>(machine.memory_bytes) / (1 << 30)));
  row("GPU", machine.gpus.empty() ? "none found" : fmt::format("{}", fmt::join(machine.gpus, ", ")));
  text += "\nenvironment variables that lockstep reads\n";
  for (const auto& variable : known_environment_variables()) {
    const auto value = environment_variable(variable.name.c_str());
    fmt::format_to(std::back_inserter(text), "  {:<27} {:<12} {}\n", variable.name, value.value_or("(unset)"),
                   variable.meaning);
  }
  return text;
}

}  // namespace lockstep::launchers
