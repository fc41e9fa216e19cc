// SPDX-License-Identifier: Apache-2.0
// main() of rank tests. A fatal failure or an escaped exception on one rank takes the job down at once (peers would
// wait for ever), and after each test the ranks agree whether it failed anywhere.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lockstep/comm/session.hpp"
#include "support/rank_world.hpp"

namespace {

lockstep::Session* the_session = nullptr;
std::map<std::string, lockstep::Communicator, std::less<>> worlds;  // by backend

class AgreeOnFailure : public testing::EmptyTestEventListener {
 public:
  AgreeOnFailure(lockstep::Session& session, lockstep::Communicator& ranks) : session_(session), ranks_(ranks) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (ranks_.rank() != 0) {
      std::fprintf(stderr, "[rank %d] %s:%d\n%s\n", ranks_.rank(), result.file_name() ? result.file_name() : "?",
                   result.line_number(), result.message());
    }
    if (result.fatally_failed()) session_.abort(1);
  }

  void OnTestEnd(const testing::TestInfo& info) override {
    std::int32_t failed = info.result()->Failed() ? 1 : 0;
    ranks_.all_reduce({&failed, 1, lockstep::DType::int32}, lockstep::ReduceOp::max).wait();
    any_failed_ = any_failed_ || failed != 0;
  }

  [[nodiscard]] bool any_failed() const { return any_failed_; }

 private:
  lockstep::Session& session_;
  lockstep::Communicator& ranks_;  // not the one that tests use: they may fail it
  bool any_failed_ = false;
};

}  // namespace

std::vector<std::string> lockstep::testing::backends() {
  return started_as_mpi_rank() ? std::vector<std::string>{"mpi", "shm", "nodes"} : std::vector<std::string>{"shm"};
}

lockstep::Communicator& lockstep::testing::world(std::string_view backend) {
  const auto found = worlds.find(backend);
  if (found != worlds.end()) return found->second;
  const bool as_named = backend == "shm" || started_as_mpi_rank();
  return worlds.emplace(backend, as_named ? the_session->world(backend) : world("shm").duplicate("world"))
      .first->second;
}

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  setenv("LOCKSTEP_VIRTUAL_NODES", "2", 0);
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  the_session = session.get();
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  lockstep::Communicator agreement = lockstep::testing::world().duplicate("agreement");
  if (agreement.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  auto* const agree = new AgreeOnFailure(*session, agreement);
  listeners.Append(agree);
  const int own = RUN_ALL_TESTS();
  const int code = own != 0 || agree->any_failed() ? 1 : 0;
  agreement.barrier();
  agreement.close();
  for (auto& [backend, world] : worlds) world.close();
  worlds.clear();
  session->finalize();
  return code;
}
