// SPDX-License-Identifier: Apache-2.0
// What users are told when communication between GPUs fails, and what they find in the flight recorder. The table in
// docs/errors.md lists it.
#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include "comm/thread_ranks.hpp"
#include "comm/thrown_text.hpp"
#include "flight_dump.hpp"
#include "flight_verdict.hpp"
#include "gpu/device.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/flight_recorder.hpp"
#include "lockstep/comm/gpu.hpp"
#include "lockstep/comm/local.hpp"
#include "support/fake_gpu/fake_gpu.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using comm::gpu::NcclStatus;
using launchers::FlightFinding;
using ::testing::AllOf;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using testing::text_of;

using std::chrono::milliseconds;

void wait_on_the_host(Work work) {
  while (!work.done()) std::this_thread::yield();
}

class NcclFailures : public ::testing::Test {
 protected:
  NcclFailures() { set_flight_folder(folder_); }
  ~NcclFailures() override { set_flight_folder(""); }

  [[nodiscard]] Communicator open(Communicator& world) {
    auto device = std::make_shared<comm::gpu::Device>(gpus_.libraries(world.rank()), 0);
    return gpu_communicator(world, Gpu(std::move(device)), "gpus", GpuTransport::nccl);
  }
  // On ranks that have a communicator of their GPUs.
  void run(int ranks, const std::function<void(Communicator& gpus)>& body) {
    run_local_ranks(ranks, [&](Communicator& world) {
      Communicator gpus = open(world);
      body(gpus);
    });
  }
  [[nodiscard]] Work all_reduce(Communicator& gpus, CollectiveOptions options = {}) {
    return gpus.all_reduce({data_[static_cast<std::size_t>(gpus.rank())].data(), 4, DType::float32}, ReduceOp::sum,
                           options);
  }
  [[nodiscard]] std::vector<FlightFinding> verdict() const {
    return launchers::judge_flight(launchers::read_flight_dumps(folder_));
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path folder_ = directory_ / "flight";
  std::array<std::array<float, 4>, 4> data_{};  // the streams may use it until the GPUs are gone
  test::FakeGpus gpus_{4};
};

TEST_F(NcclFailures, of_init_name_the_rank_and_nccls_error_on_all_ranks) {
  gpus_.fail_next_init(1, NcclStatus::system_error);
  run_local_ranks(2, [&](Communicator& world) {
    const ErrorText text = text_of<CommError>([&] { (void)open(world); });
    EXPECT_THAT(text.who, StartsWith("rank " + std::to_string(world.rank()) + "/2 "));
    EXPECT_THAT(text.what, HasSubstr("\"gpus\""));
    EXPECT_THAT(text.why, AllOf(HasSubstr("failed on rank 1 ("), HasSubstr("ncclSystemError")));
    EXPECT_THAT(text.fix, HasSubstr("NCCL_DEBUG=INFO"));
  });
}

TEST_F(NcclFailures, that_nccl_reports_carry_its_text_and_reach_the_peers) {
  run(2, [&](Communicator& gpus) {
    gpus.barrier();
    if (gpus.rank() == 1) gpus_.hold_streams(1, true);  // the call stays unfinished
    Work work = all_reduce(gpus);
    if (gpus.rank() == 1) gpus_.set_async_error(1, NcclStatus::system_error);
    const ErrorText text = text_of<CommError>([&] { wait_on_the_host(std::move(work)); });
    if (gpus.rank() == 1) gpus_.hold_streams(1, false);
    EXPECT_THAT(text.what, StartsWith("all_reduce #1 (4 × float32, sum, 2 leaves) on \"gpus\" (nccl)"));
    EXPECT_THAT(text.why, HasSubstr("ncclSystemError: unhandled system error"));
    EXPECT_THAT(text.why, gpus.rank() == 1 ? HasSubstr("ncclCommGetAsyncError") : HasSubstr("rank 1 gave up"));
    EXPECT_THAT(text.fix, HasSubstr(gpus.rank() == 1 ? "NCCL_SOCKET_IFNAME" : "see the error of that rank"));
  });
}

TEST_F(NcclFailures, of_a_rank_that_never_calls_name_it) {
  std::atomic<bool> failed = false;
  run(3, [&](Communicator& gpus) {
    if (gpus.rank() == 1) {
      while (!failed) std::this_thread::yield();
      return;
    }
    const ErrorText text = text_of<TimeoutError>(
        [&] { wait_on_the_host(all_reduce(gpus, {.timeout = milliseconds(1000), .label = "gradients"})); });
    failed = true;
    EXPECT_THAT(text.why, AllOf(StartsWith("all_reduce #0 (4 × float32, sum, 3 leaves) of gradients (nccl), queued "),
                                HasSubstr("timed out after 1.0 s (comm.timeout_seconds) waiting for rank 1 ("),
                                HasSubstr("; called by: 0, 2")));
    EXPECT_THAT(text.fix, AllOf(HasSubstr("comm.timeout_seconds"), HasSubstr("lockstep recorder merge")));
  });
}

TEST_F(NcclFailures, of_a_device_that_does_not_finish_say_that_all_have_called) {
  run(2, [&](Communicator& gpus) {
    gpus.barrier();
    if (gpus.rank() == 1) gpus_.hold_streams(1, true);
    const ErrorText text =
        text_of<TimeoutError>([&] { wait_on_the_host(all_reduce(gpus, {.timeout = milliseconds(1500)})); });
    if (gpus.rank() == 1) gpus_.hold_streams(1, false);
    EXPECT_THAT(text.why, HasSubstr("all ranks have called it, and the device does not finish it"));
    EXPECT_THAT(text.fix, AllOf(HasSubstr("NCCL_DEBUG=INFO"), HasSubstr("docs/gpus.md#hangs")));
  });
}

TEST_F(NcclFailures, of_calls_in_another_order_name_both_ranks_and_calls_and_so_does_the_recorder) {
  run(2, [&](Communicator& gpus) {
    const ErrorText text = text_of<MismatchError>([&] {
      if (gpus.rank() == 0) gpus.barrier();
      wait_on_the_host(all_reduce(gpus));
    });
    EXPECT_THAT(text.who, StartsWith("rank " + std::to_string(gpus.rank()) + "/2 "));
    EXPECT_THAT(text.what, HasSubstr(gpus.rank() == 0 ? "barrier #0 on \"gpus\" (nccl)" : "all_reduce #0"));
    EXPECT_EQ(text.why,
              "ranks called different collectives: rank 0: barrier #0; rank 1: all_reduce #0 (4 × float32, sum, 2 "
              "leaves)");
    EXPECT_THAT(text.fix, HasSubstr("a branch that only some ranks take"));
  });
  const auto findings = verdict();
  ASSERT_THAT(findings, Not(IsEmpty()));
  EXPECT_EQ(findings[0].kind, FlightFinding::Kind::mismatch);
  EXPECT_EQ(findings[0].communicator, "gpus");
  EXPECT_THAT(findings[0].text, AllOf(HasSubstr("barrier #0"), HasSubstr("all_reduce #0"), HasSubstr("rank 1")));
}

TEST_F(NcclFailures, of_a_rank_that_ends_reach_the_others) {
  EXPECT_THROW(run(3,
                   [&](Communicator& gpus) {
                     if (gpus.rank() == 2) throw DataError({.what = "sample 7", .why = "it is torn"});
                     const ErrorText text = text_of<PeerDied>([&] { wait_on_the_host(all_reduce(gpus)); });
                     EXPECT_THAT(text.why, AllOf(StartsWith("rank 2 gave up"), HasSubstr("it is torn")));
                     EXPECT_THAT(text.fix, HasSubstr("see the error of that rank"));
                   }),
               DataError);
}

TEST_F(NcclFailures, are_thrown_by_every_later_call) {
  run(1, [&](Communicator& gpus) {
    gpus_.hold_streams(0, true);
    Work work = all_reduce(gpus);
    gpus_.set_async_error(0, NcclStatus::internal_error);
    EXPECT_THROW(wait_on_the_host(std::move(work)), CommError);
    gpus_.hold_streams(0, false);
    EXPECT_THAT(text_of<CommError>([&] { (void)all_reduce(gpus); }).why, HasSubstr("ncclInternalError"));
    EXPECT_THAT(gpus_.nccl_calls(0), ::testing::Contains("revoke 0"));
  });
}

// Over shm, which can shrink.
TEST_F(NcclFailures, let_the_survivors_shrink_and_go_on) {
  gpus_.run_default_streams_on_caller();
  testing::on_shm_threads(
      4,
      [&](Communicator& world) {
        Communicator gpus = open(world);
        if (world.rank() == 1) return gpus.abort("shard 7 is truncated");
        const ErrorText text = text_of<PeerDied>([&] { wait_on_the_host(all_reduce(gpus)); });
        EXPECT_EQ(text.why, "rank 1 gave up: shard 7 is truncated");
        Communicator rest = gpus.shrink("rest");
        ASSERT_EQ(rest.world_size(), 3);
        for (int i = 0; i < 10; ++i) {
          float value = static_cast<float>(rest.rank() + i);
          rest.all_reduce({&value, 1, DType::float32}).wait();
          EXPECT_EQ(value, static_cast<float>(3 + 3 * i));
        }
        rest.barrier();
        rest.close();
      },
      std::chrono::seconds(3));  // rank 1 is given up after it
}

TEST_F(NcclFailures, whose_abort_hangs_leave_with_a_dump) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("LOCKSTEP_FLIGHT_DIR", folder_.c_str(), 0);  // the process that exits has the first one's
  const auto hang = [&] {
    run(1, [&](Communicator& gpus) {
      gpus_.hold_streams(0, true);  // else the call may be done before the watchdog looks
      gpus_.make_abort_hang(0, true);
      gpus_.hold_streams(0, true);
      gpus_.set_async_error(0, NcclStatus::system_error);
      wait_on_the_host(all_reduce(gpus));
    });
  };
  EXPECT_EXIT(hang(), ExitedWithCode(static_cast<int>(ExitCode::internal)),
              "giving up: ncclCommRevoke .nccl. has not returned after 5.0 s; the communicator had failed: .*"
              "ncclSystemError.*Fix: ");
  unsetenv("LOCKSTEP_FLIGHT_DIR");
  EXPECT_THAT(launchers::read_flight_dumps(folder_), Not(IsEmpty()));
}

}  // namespace
}  // namespace lockstep
