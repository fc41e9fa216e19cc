// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "lockstep/base/config.hpp"
#include "lockstep/runtime/runtime.hpp"

namespace lockstep {

// A program behind lockstep::run: declares its options, then trains.
struct Program {
  std::function<void(OptionList&)> describe;
  std::function<void(Runtime&)> train;
};

// Runs `program` on every rank that a launcher started (mpirun, srun; without MPI `lockstep run --no-mpi`, torchrun),
// or on threads (comm.backend=local), and returns the exit code (base/error.hpp). Owns the order of set-up and
// teardown: options, MPI, signals, run folder, train, close. An exception is printed once with rank and host, and takes
// the job down, so that no peer waits for ever. For the duration SIGTERM, SIGUSR1 and SIGINT mean: save at the end of
// the step and leave with ExitCode::saved; a second SIGINT kills.
int run_program(int argc, char** argv, const std::function<Program()>& make_program);

// The same for a struct of options with `void describe(lockstep::OptionList&)`.
template <class Options, class Train>
int run(int argc, char** argv, Train train) {
  return run_program(argc, argv, [&train] {
    const auto options = std::make_shared<Options>();
    return Program{
        .describe = [options](OptionList& list) { options->describe(list); },
        .train = [options, &train](Runtime& runtime) { train(runtime, static_cast<const Options&>(*options)); }};
  });
}

}  // namespace lockstep
