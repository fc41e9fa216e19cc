// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/run.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/exit_record.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/local.hpp"
#include "lockstep/comm/rendezvous.hpp"
#include "lockstep/comm/session.hpp"
#include "runtime_impl.hpp"
#include "seeds.hpp"
#include "signals.hpp"
#include "turns.hpp"

namespace lockstep {
namespace {

struct CommandLineOfProgram {
  std::string name;                    // of the program, without its folder
  std::vector<std::string> arguments;  // without it
};

// One rank's program with its options. Not movable: the option list points into it.
struct Job {
  Job(const CommandLineOfProgram& line, const std::function<Program()>& make_program) : program(make_program()) {
    runtime.run_dir = "runs/" + line.name;
    runtime.describe(options);
    program.describe(options);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Program program;
  RuntimeOptions runtime;
  OptionList options;
};

ExitCode exit_code_of(const std::exception& error) {
  const auto* const ours = dynamic_cast<const Error*>(&error);
  return ours != nullptr ? ours->exit_code() : ExitCode::internal;
}

// Without the stack of C++ frames that LibTorch's errors carry.
std::string text_of(const std::exception& error) {
  const auto* const torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

// The message with who it comes from, where the thrower could not know.
std::string message_of(const std::exception& error, const std::string& who) {
  const auto* const ours = dynamic_cast<const Error*>(&error);
  if (ours != nullptr && !ours->text().who.empty()) return error.what();
  return fmt::format("[{}] {}", who, text_of(error));
}

void leave_record(const Communicator& root, ExitCode code, const std::exception* error) {
  const auto folder = environment_variable("LOCKSTEP_EXIT_DIR");
  if (!folder) return;
  const auto& own = root.peers()[static_cast<std::size_t>(root.rank())];
  const auto* const peer_died = dynamic_cast<const PeerDied*>(error);
  write_exit_record(*folder, {.rank = root.rank(),
                              .world_size = root.world_size(),
                              .host = own.host,
                              .pid = own.pid,
                              .code = static_cast<int>(code),
                              .cause = error == nullptr ? "" : text_of(*error),
                              .died_rank = peer_died == nullptr ? -1 : peer_died->rank()});
}

void print_error(const std::string& message) { std::fprintf(stderr, "error: %s\n", message.c_str()); }

// A training step frees and asks for the same large blocks again and again. By default glibc gives many of them back to
// the kernel in between, and each step pays for their pages anew: 2 million page faults and a fifth of the time in 300
// steps of examples/fashion_mnist. The peak of memory stays what it is.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // glibc's maximum
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
}

// An error that all ranks have alike, so that they leave in order.
bool is_orderly(const std::exception& error) {
  return dynamic_cast<const AgreedError*>(&error) != nullptr || dynamic_cast<const Stopped*>(&error) != nullptr;
}

struct Farewell {
  ExitCode code = ExitCode::internal;
  bool spoke = false;
};

// What a rank does about an error that ends it: says it once on this host, and leaves a record.
Farewell give_up(Communicator& root, const std::exception& error) {
  const ExitCode code = exit_code_of(error);
  leave_record(root, code, &error);
  const bool first = root.claim_first_failure();
  if (is_orderly(error) ? root.rank() != 0 : !first) return {code, false};
  if (code == ExitCode::saved) {
    std::printf("%s\n", error.what());
    std::fflush(stdout);
  } else {
    print_error(message_of(error, root.who()));
  }
  return {code, true};
}

// Trains as one rank of `root`; the same over processes and over threads. Throws what ends the training.
void train(Communicator& root, Job& job) {
  at::set_num_threads(job.runtime.intra_op_threads);
  Runtime runtime(root.duplicate("world"), job.runtime, job.options);
  runtime.impl().listens_to_signals = true;
  at::manual_seed(run_seed(job.runtime.seed));
  job.program.train(runtime);
  runtime.close();
  leave_record(root, ExitCode::done, nullptr);
}

std::chrono::milliseconds timeout_of(const RuntimeOptions& options) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(options.timeout_seconds * 1000));
}

bool needs_mpi(const std::string& backend) { return backend == "mpi" || backend == "nodes"; }

UsageError no_mpi(const std::string& backend, const std::string& why) {
  if (built_with_mpi()) {
    return UsageError({.what = "comm.backend=" + backend,
                       .why = why,
                       .fix = "start the program with mpirun or srun --mpi=pmix, or leave comm.backend out"});
  }
  return UsageError({.what = "comm.backend=" + backend,
                     .why = "this lockstep was built without MPI",
                     .fix = "leave comm.backend out, or build lockstep with LOCKSTEP_MPI=ON"});
}

// Collective. Rank 0's options on every rank, or its error. An error of parsing alone does not count on other ranks:
// they may lack the file of --config. Without a job, because the declaration of its options failed, no rank can go on.
void agree_on_options(Communicator& root, Job* job, const std::exception_ptr& parse_error) {
  agree(root, [&] {
    if (parse_error && (root.rank() == 0 || job == nullptr)) std::rethrow_exception(parse_error);
  });
  const std::string config = decide_on_rank_0(root, [&] {
    if (job->runtime.comm_backend == "local") {
      throw UsageError({.what = "comm.backend=local",
                        .why = "its ranks are threads of one process, and a launcher started this one as a rank",
                        .fix = "start the program without a launcher, or leave comm.backend out"});
    }
    if (needs_mpi(job->runtime.comm_backend) && !started_as_mpi_rank()) {
      throw no_mpi(job->runtime.comm_backend, "the ranks of this job were started without MPI");
    }
    return to_toml(job->options);
  });
  if (root.rank() != 0) apply_toml(job->options, config, "the options of rank 0");
  job->runtime.ranks = root.world_size();
}

int run_as_rank(const CommandLineOfProgram& line, const std::function<Program()>& make_program) {
  std::unique_ptr<Job> job;
  std::exception_ptr parse_error;
  bool help = false;
  try {
    job = std::make_unique<Job>(line, make_program);
    help = parse_command_line(job->options, line.arguments).help;
    job->runtime.check();
  } catch (const std::exception&) {
    parse_error = std::current_exception();
  }
  const RuntimeOptions options = parse_error ? RuntimeOptions{} : job->runtime;
  const std::unique_ptr<Session> session = open_session(timeout_of(options));
  // Never destroyed: a request to stop must not kill a rank that is leaving. srun -K1 sends SIGTERM to the others as
  // soon as the first has left with another code than 0, and reports the highest code: 143 instead of 75 or 2.
  [[maybe_unused]] static const auto* const signals = new StopSignals;
  Communicator root = session->world(options.comm_backend);
  ExitCode code = ExitCode::done;
  try {
    if (help && root.rank() == 0) std::printf("%s", help_text(job->options, line.name).c_str());
    if (!help) {
      agree_on_options(root, job.get(), parse_error);
      train(root, *job);
    }
  } catch (const std::exception& error) {
    const Farewell farewell = give_up(root, error);
    code = farewell.code;
    if (!is_orderly(error)) {
      // The rank that speaks takes the job down at once; the others give it the time to have spoken. A second MPI_Abort
      // would also take from the rest the second that mpirun leaves between SIGTERM and SIGKILL.
      if (!farewell.spoke) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      session->abort(static_cast<int>(code));
    }
  }
  root.barrier();  // launchers end the others when one leaves with another code than 0
  root.close();
  session->finalize();
  return static_cast<int>(code);
}

int run_over_threads(const CommandLineOfProgram& line, const std::function<Program()>& make_program) {
  int ranks = 1;
  std::chrono::milliseconds timeout{};
  {
    Job job(line, make_program);
    if (parse_command_line(job.options, line.arguments).help) {
      std::printf("%s", help_text(job.options, line.name).c_str());
      return static_cast<int>(ExitCode::done);
    }
    job.runtime.check();
    constexpr const char* kWhy = "no launcher started this process as a rank";
    const std::string& backend = job.runtime.comm_backend;
    if (needs_mpi(backend)) throw no_mpi(backend, kWhy);
    if (backend == "shm") {
      throw UsageError({.what = "comm.backend=shm", .why = kWhy, .fix = "use lockstep run -n 2 " + line.name});
    }
    ranks = job.runtime.ranks;
    timeout = timeout_of(job.runtime);
  }
  const StopSignals signals;
  std::mutex turn;
  std::vector<ExitCode> codes(static_cast<std::size_t>(ranks), ExitCode::done);
  run_local_ranks(
      ranks,
      [&](Communicator& root) {
        const TakeTurns turns(root, turn);
        try {
          Job job(line, make_program);
          parse_command_line(job.options, line.arguments);
          train(root, job);
        } catch (const std::exception& error) {
          codes[static_cast<std::size_t>(root.rank())] = give_up(root, error).code;
          if (!is_orderly(error)) root.abort(text_of(error));
        }
      },
      timeout);
  return static_cast<int>(*std::max_element(codes.begin(), codes.end()));
}

}  // namespace

int run_program(int argc, char** argv, const std::function<Program()>& make_program) {
  keep_freed_memory();
  const CommandLineOfProgram line{.name = std::filesystem::path(argv[0]).filename().string(),
                                  .arguments = {argv + 1, argv + argc}};
  try {
    const bool is_rank = started_as_mpi_rank() || started_without_mpi();
    return is_rank ? run_as_rank(line, make_program) : run_over_threads(line, make_program);
  } catch (const std::exception& error) {  // before there are ranks, or after
    print_error(text_of(error));
    return static_cast<int>(exit_code_of(error));
  }
}

}  // namespace lockstep
