// SPDX-License-Identifier: Apache-2.0
// main() of rank tests. A fatal failure or an escaped exception on one rank takes the job down at once (peers would
// wait for ever), and after each test the ranks agree whether it failed anywhere.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "lockstep/comm/mpi_session.hpp"
#include "support/rank_world.hpp"

namespace {

lockstep::Communicator* the_world = nullptr;
lockstep::Communicator* the_shm_world = nullptr;
lockstep::Communicator* the_nodes_world = nullptr;

class AgreeOnFailure : public testing::EmptyTestEventListener {
 public:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (the_world->rank() != 0) {
      std::fprintf(stderr, "[rank %d] %s:%d\n%s\n", the_world->rank(), result.file_name() ? result.file_name() : "?",
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
  if (backend == "shm") return *the_shm_world;
  return backend == "nodes" ? *the_nodes_world : *the_world;
}

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  lockstep::MpiSession session{std::chrono::seconds(60)};
  lockstep::Communicator world = session.world("mpi");
  lockstep::Communicator shm_world = session.world("shm");
  setenv("LOCKSTEP_VIRTUAL_NODES", "2", 0);
  lockstep::Communicator nodes_world = session.world("nodes");
  the_world = &world;
  the_shm_world = &shm_world;
  the_nodes_world = &nodes_world;
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  auto* const agree = new AgreeOnFailure;
  listeners.Append(agree);
  const int own = RUN_ALL_TESTS();
  const int code = own != 0 || agree->any_failed() ? 1 : 0;
  nodes_world.close();
  shm_world.close();
  world.close();
  session.finalize();
  return code;
}
