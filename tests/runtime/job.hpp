// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "lockstep/runtime/runtime.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {

// A temporary folder of rank 0 that all ranks know by name.
class SharedFolder {
 public:
  explicit SharedFolder(Communicator& world);  // Collective.
  [[nodiscard]] std::string path() const { return path_; }

 private:
  std::optional<test::TemporaryDirectory> own_;
  std::string path_;
};

// A runtime as lockstep::run makes it, without a command line.
class Job {
 public:
  Job(Communicator& world, const RuntimeOptions& options);  // Collective.
  [[nodiscard]] Runtime& runtime() noexcept { return *runtime_; }

 private:
  RuntimeOptions options_;
  std::optional<Runtime> runtime_;
};

// Runs `body` on `world_size` threads that take turns, as lockstep::run does with comm.backend=local.
void run_ranks_in_turn(int world_size, const std::function<void(Communicator& world)>& body);

}  // namespace lockstep::testing
