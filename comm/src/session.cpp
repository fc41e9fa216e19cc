// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/exit_record.hpp"
#include "lockstep/base/host.hpp"
#include "lockstep/comm/rendezvous.hpp"
#include "topology.hpp"

namespace lockstep {
namespace {

// For `lockstep run`: before there is a communicator, nobody else can tell it.
void leave_record(const Error& error) {
  const auto folder = environment_variable("LOCKSTEP_EXIT_DIR");
  if (!folder) return;
  const comm::RankVariables place = comm::rank_variables();
  const auto* const died = dynamic_cast<const PeerDied*>(&error);
  write_exit_record(*folder, {.rank = place.rank,
                              .world_size = place.world_size,
                              .host = host_name(),
                              .pid = getpid(),
                              .code = static_cast<int>(error.exit_code()),
                              .cause = error.what(),
                              .died_rank = died == nullptr ? -1 : died->rank()});
}

Communicator meet(std::chrono::milliseconds timeout) {
  try {
    return rendezvous_world(timeout);
  } catch (const Error& error) {
    leave_record(error);
    throw;
  }
}

// Ranks of this host that found each other without MPI.
class HostSession final : public Session {
 public:
  explicit HostSession(std::chrono::milliseconds timeout) : world_(meet(timeout)) {}
  [[nodiscard]] Communicator world(std::string_view) override { return std::move(world_); }
  void finalize() override {}
  // The others see this process end, and the launcher ends them.
  [[noreturn]] void abort(int code) noexcept override {
    std::fflush(stdout);
    _exit(code);
  }

 private:
  Communicator world_;
};

}  // namespace

std::unique_ptr<Session> open_session(std::chrono::milliseconds timeout) {
  if (started_as_mpi_rank()) return open_mpi_session(timeout);
  return std::make_unique<HostSession>(timeout);
}

}  // namespace lockstep
