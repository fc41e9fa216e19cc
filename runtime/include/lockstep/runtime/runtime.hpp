// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>

#include "lockstep/base/error.hpp"
#include "lockstep/base/log.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/runtime/options.hpp"
#include "lockstep/runtime/train_state.hpp"

namespace lockstep {

template <class Source>
class StepRange;

// Thrown by a step loop after a stop was asked for and the state was saved: it unwinds the program to lockstep::run.
class Stopped : public Error {
 public:
  using Error::Error;
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::saved; }
};

// One rank's view of a job. Passed to whoever needs it; there is no global one. Not thread-safe.
class Runtime {
 public:
  // Collective. For programs that run MPI themselves: lockstep::Runtime rt(lockstep::adopt(MPI_COMM_WORLD)). There, one
  // backward pass of each rank is one micro-batch, and LibTorch's thread count is checked, not set. The device is that
  // of run.device=auto.
  explicit Runtime(Communicator world);
  // Collective. What lockstep::run makes: locks and prepares the run folder. `options` are all that the program
  // declared.
  Runtime(Communicator world, const RuntimeOptions& runtime_options, const OptionList& options);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();  // local

  [[nodiscard]] Communicator& world() noexcept;
  [[nodiscard]] int rank() const noexcept;
  [[nodiscard]] int world_size() const noexcept;
  // Where this rank's model and batches belong, as run.device says. On a GPU, a stream other than the default one is
  // the current one of the thread that made the Runtime.
  [[nodiscard]] at::Device device() const noexcept;
  [[nodiscard]] Logger& log() noexcept;  // to this rank's file; rank 0 also to the console

  // Local. For a DataLoader of training batches: seed, global batch, micro-batches and those this rank owns.
  [[nodiscard]] LoaderOptions loader_options() const;
  // Local. For a DataLoader that gives each rank its share of an evaluation set, unshuffled; one pass is
  // steps_per_epoch().
  [[nodiscard]] LoaderOptions evaluation_options() const;

  // The training loop: for (auto& step : rt.steps(state, loader)). Resumes `state` from the run folder, saves and logs,
  // and stops at a safe step on request. `source` is a DataLoader, whose batches come on device() (offsets of ragged
  // columns stay on the CPU), or any range of batches, which come as they are. One loop at a time.
  // (steps.hpp)
  template <class Source>
  [[nodiscard]] StepRange<Source> steps(TrainState& state, Source& source);

  // Local. A result of the run: printed by rank 0 and kept in run.json as final.<name>.
  void report(std::string_view name, double value);

  // Collective. Writes what is left to write and frees communicators; lockstep::run calls it.
  void close();

  class Impl;  // runtime/src
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
