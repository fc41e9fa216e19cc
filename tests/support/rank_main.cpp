// SPDX-License-Identifier: Apache-2.0
// main() of rank tests. A fatal failure or an escaped exception on one rank takes the job down at once (peers would
// wait for ever), and after each test the ranks agree whether it failed anywhere.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>

#include "lockstep/comm/mpi_session.hpp"
#include "support/rank_world.hpp"

namespace {

lockstep::MpiSession* the_session = nullptr;
std::map<std::string, lockstep::Communicator, std::less<>> worlds;  // by backend

class AgreeOnFailure : public testing::EmptyTestEventListener {
 public:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (const int rank = lockstep::testing::world().rank(); rank != 0) {
      std::fprintf(stderr, "[rank %d] %s:%d\n%s\n", rank, result.file_name() ? result.file_name() : "?",
                   result.line_number(), result.message());
    }
    if (result.fatally_failed()) MPI_Abort(MPI_COMM_WORLD, 1);
  }

  void OnTestEnd(const testing::TestInfo& info) override {
    int failed = info.result()->Failed() ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    any_failed_ = any_failed_ || failed != 0;
  }

  [[nodiscard]] bool any_failed() const { return any_failed_; }

 private:
  bool any_failed_ = false;
};

}  // namespace

lockstep::Communicator& lockstep::testing::world(std::string_view backend) {
  const auto found = worlds.find(backend);
  if (found != worlds.end()) return found->second;
  return worlds.emplace(backend, the_session->world(backend)).first->second;
}

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  setenv("LOCKSTEP_VIRTUAL_NODES", "2", 0);
  lockstep::MpiSession session{std::chrono::seconds(60)};
  the_session = &session;
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (lockstep::testing::world().rank() != 0) delete listeners.Release(listeners.default_result_printer());
  auto* const agree = new AgreeOnFailure;
  listeners.Append(agree);
  const int own = RUN_ALL_TESTS();
  const int code = own != 0 || agree->any_failed() ? 1 : 0;
  for (auto& [backend, world] : worlds) world.close();
  worlds.clear();
  session.finalize();
  return code;
}
