// SPDX-License-Identifier: Apache-2.0
#include "gpu/watchdog.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <functional>

#include "lockstep/base/error.hpp"
#include "lockstep/base/exit_record.hpp"
#include "lockstep/comm/local.hpp"
#include "support/fake_gpu/fake_gpu.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::comm::gpu {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kLong = seconds(60);

// What happened, in order, from any thread.
class Log {
 public:
  void add(std::string entry) {
    const std::lock_guard lock(mutex_);
    entries_.push_back(std::move(entry));
  }
  [[nodiscard]] std::vector<std::string> entries() const {
    const std::lock_guard lock(mutex_);
    return entries_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> entries_;
};

// Rank 0 of two, whose peer never says anything.
class SilentHost final : public Backend {
 public:
  explicit SilentHost(std::function<void()> told) : told_(std::move(told)) {}
  [[nodiscard]] std::string_view name() const noexcept override { return "silent"; }
  [[nodiscard]] int rank() const noexcept override { return 0; }
  [[nodiscard]] int world_size() const noexcept override { return 2; }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return peers_; }
  [[nodiscard]] OperationPtr start(const Request&) override { return OperationPtr(new Never); }
  void idle(std::chrono::nanoseconds) override {}
  [[nodiscard]] std::unique_ptr<Backend> split(int, int) override { return nullptr; }
  void fail(const Failure&) noexcept override { told_(); }
  [[nodiscard]] bool claim_first_failure() noexcept override { return true; }
  void close() override {}

 private:
  struct Never final : Operation {
    Advanced advance(Clock::time_point) override { return Advanced::not_yet; }
    [[nodiscard]] std::vector<int> missing() const override { return {1}; }
  };
  std::function<void()> told_;
  std::vector<Peer> peers_{{.host = "n06"}, {.host = "n07"}};
};

NcclComm make_comm(const Libraries& libraries, int ranks, const UniqueId& id, int rank) {
  NcclComm comm = nullptr;
  NcclStatus status = libraries.nccl->init(comm, ranks, id, rank);
  while (status == NcclStatus::in_progress) {
    EXPECT_EQ(libraries.nccl->async_error(comm, status), NcclStatus::success);
    std::this_thread::yield();
  }
  EXPECT_EQ(status, NcclStatus::success);
  return comm;
}

// One rank whose peer is silent, looked at by the test at times of its own.
class Failures : public ::testing::Test {
 protected:
  void watch(bool pulse_on_watchdog = true) {
    UniqueId id{};
    ASSERT_EQ(libraries_.nccl->unique_id(id), NcclStatus::success);
    const NcclComm comm = make_comm(libraries_, 1, id, 0);
    auto pulse = std::make_unique<Pulse>(std::make_unique<SilentHost>([this] { note("tell"); }));
    watched_ = std::make_shared<WatchedComm>(libraries_, comm, std::move(pulse), pulse_on_watchdog, "nccl");
    watched_->exits.dump = [this] { note("dump"); };
    watched_->exits.hard_exit = [this](const std::string& why) {
      note("exit");
      exit_ = why;
    };
  }
  void note(const std::string& what) { log_.add(what + " after " + gpus_.nccl_calls(0).back()); }

  // A call queued at `start_`; it is done when the streams run.
  void queue(std::uint64_t number, milliseconds timeout = kLong) {
    Event event = nullptr;
    ASSERT_EQ(libraries_.cuda->create_event(event), CudaStatus::success);
    ASSERT_EQ(libraries_.cuda->record(event, libraries_.cuda->current_stream(0)), CudaStatus::success);
    const Call call{
        .kind = Kind::all_reduce, .dtype = DType::float32, .elements = 400, .leaves = 2, .sequence = number - 1};
    watched_->note(call);
    watched_->queued({.call = call,
                      .label = "gradients of conv1.weight",
                      .queued = start_,
                      .timeout = timeout,
                      .done = {event, [this](Event done) { (void)libraries_.cuda->destroy_event(done); }},
                      .number = number});
  }

  [[nodiscard]] std::optional<Failure> look_after(Clock::duration time) { return watched_->look(start_ + time); }
  void abort_hangs() {
    gpus_.set_version(22703);
    watch();
    gpus_.make_abort_hang(0, true);
    watched_->exits.abort_deadline = milliseconds(20);
  }
  // The abort goes on and ends, after which the GPUs may go.
  void let_abort_end(NcclComm comm) {
    gpus_.make_abort_hang(0, false);
    NcclStatus state = NcclStatus::success;
    while (libraries_.nccl->async_error(comm, state) == NcclStatus::success) std::this_thread::yield();
  }

  Log log_;
  test::FakeGpus gpus_{1};
  const Libraries& libraries_ = gpus_.libraries(0);
  Clock::time_point start_ = Clock::now();
  std::string exit_;
  std::shared_ptr<WatchedComm> watched_;
};

TEST_F(Failures, an_async_error_carries_nccls_text_and_a_fix) {
  watch();
  EXPECT_FALSE(look_after(seconds(0)));
  gpus_.set_async_error(0, NcclStatus::system_error);
  const auto failure = look_after(seconds(1));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, FailureKind::native);
  EXPECT_THAT(failure->why, StartsWith("ncclCommGetAsyncError: ncclSystemError: unhandled system error"));
  EXPECT_THAT(failure->fix, HasSubstr("NCCL_SOCKET_IFNAME"));
  EXPECT_TRUE(watched_->failed());
}

TEST_F(Failures, are_dumped_then_told_then_the_communicator_is_revoked) {
  watch();
  watched_->give_up({.why = "it broke"});
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0"));
  EXPECT_EQ(gpus_.nccl_calls(0).back(), "revoke 0");
  EXPECT_TRUE(watched_->revoked());
}

TEST_F(Failures, abort_a_communicator_of_an_nccl_that_cannot_revoke) {
  gpus_.set_version(22703);
  watch();
  watched_->give_up({.why = "it broke"});
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0"));
  EXPECT_EQ(gpus_.nccl_calls(0).back(), "abort 0");
  EXPECT_THAT(gpus_.nccl_calls(0), Not(Contains("revoke 0")));
  EXPECT_FALSE(watched_->revoked());
}

TEST_F(Failures, whose_abort_hangs_end_the_process_with_a_dump_before) {
  abort_hangs();
  watched_->give_up({.why = "it broke"});
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0", "exit after abort 0"));
  EXPECT_THAT(exit_, AllOf(StartsWith("ncclCommAbort (nccl) has not returned after 0.0 s"), HasSubstr("it broke")));
  let_abort_end(watched_->comm());
}

TEST_F(Failures, whose_abort_hangs_outlive_the_communicator) {
  abort_hangs();
  watched_->give_up({.why = "it broke"});
  const NcclComm comm = watched_->comm();
  watched_.reset();
  let_abort_end(comm);
}

TEST_F(Failures, a_timeout_names_the_call_its_age_and_who_has_not_called_it) {
  watch();
  gpus_.hold_streams(0, true);
  queue(1);
  EXPECT_FALSE(look_after(seconds(60)));
  const auto failure = look_after(seconds(61));
  gpus_.hold_streams(0, false);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, FailureKind::timeout);
  EXPECT_EQ(failure->why,
            "all_reduce #0 (400 × float32, sum, 2 leaves) of gradients of conv1.weight (nccl), queued 61.0 s ago, "
            "timed out after 60.0 s (comm.timeout_seconds) waiting for rank 1 (n07); called by: 0");
  EXPECT_THAT(failure->fix, HasSubstr("raise comm.timeout_seconds if it is only slow"));
  watched_.reset();
}

TEST_F(Failures, only_the_oldest_call_is_late) {
  watch();
  gpus_.hold_streams(0, true);
  queue(1, kLong);
  queue(2, seconds(1));
  EXPECT_FALSE(look_after(seconds(59)));
  const auto failure = look_after(seconds(61));
  gpus_.hold_streams(0, false);
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->why, StartsWith("all_reduce #0"));
  watched_.reset();
}

TEST_F(Failures, calls_that_wait_for_many_others_are_not_late) {
  watch();
  queue(1);
  ASSERT_TRUE(gpus_.synchronize(0));
  gpus_.hold_streams(0, true);
  queue(2);
  EXPECT_FALSE(look_after(seconds(50)));   // the first is done
  EXPECT_FALSE(look_after(seconds(100)));  // the second was its turn for 50 s
  const auto failure = look_after(seconds(111));
  gpus_.hold_streams(0, false);
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->why, StartsWith("all_reduce #1"));
  watched_.reset();
}

TEST_F(Failures, thousands_of_calls_are_retired_in_order) {
  watch();
  for (std::uint64_t number = 1; number <= 3000; ++number) queue(number);
  ASSERT_TRUE(gpus_.synchronize(0));
  EXPECT_FALSE(look_after(seconds(1000)));
  EXPECT_TRUE(watched_->done(3000));
  EXPECT_FALSE(watched_->done(3001));
}

TEST_F(Failures, the_first_one_wins) {
  watch();
  watched_->fail({.why = "first"});
  gpus_.set_async_error(0, NcclStatus::system_error);
  EXPECT_FALSE(look_after(seconds(1)));
  watched_->fail({.why = "second"});
  try {
    watched_->throw_if_failed();
    ADD_FAILURE() << "it did not throw";
  } catch (const BackendFailure& thrown) {
    EXPECT_EQ(thrown.failure.why, "first");
  }
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0"));
}

TEST_F(Failures, found_by_two_threads_at_once_end_in_one_give_up) {
  watch();
  gpus_.set_async_error(0, NcclStatus::internal_error);
  std::thread watchdog([&] {
    if (const auto failure = look_after(seconds(0))) watched_->give_up(*failure);
  });
  watched_->fail({.why = "found by the calling thread"});
  EXPECT_TRUE(watched_->revoked());  // whoever did it
  watchdog.join();
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0"));
}

TEST_F(Failures, are_told_by_the_calling_thread_where_only_it_may_use_the_host) {
  watch(false);
  gpus_.set_async_error(0, NcclStatus::system_error);
  const auto failure = look_after(seconds(0));
  ASSERT_TRUE(failure);
  std::thread([&] { watched_->give_up(*failure); }).join();
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0"));
  watched_->advance_pulse();
  watched_->advance_pulse();
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after revoke 0"));
}

TEST_F(Failures, are_found_by_the_watchdogs_thread) {
  watch();
  gpus_.set_async_error(0, NcclStatus::system_error);
  Watchdog watchdog;
  watchdog.watch(watched_);
  while (!watched_->revoked()) std::this_thread::yield();
  EXPECT_THAT(log_.entries(), ElementsAre("dump after init 0", "tell after init 0"));
}

TEST_F(Failures, are_not_looked_for_once_a_communicator_is_gone) {
  watch();
  Watchdog watchdog;
  watchdog.watch(watched_);
  const std::weak_ptr<WatchedComm> weak = watched_;
  watched_.reset();
  while (!weak.expired()) std::this_thread::yield();
}

// Ranks with local communicators between their hosts.
void on_watched_ranks(int ranks, const std::function<void(WatchedComm&, int rank)>& body) {
  test::FakeGpus gpus(ranks);
  UniqueId id{};
  ASSERT_EQ(gpus.libraries(0).nccl->unique_id(id), NcclStatus::success);
  run_local_ranks(ranks, [&](Communicator& world) {
    const int rank = world.rank();
    const Libraries& libraries = gpus.libraries(rank);
    const NcclComm comm = make_comm(libraries, ranks, id, rank);
    WatchedComm watched(libraries, comm, std::make_unique<Pulse>(world.backend().split(0, rank)), true, "nccl");
    watched.exits.dump = [] {};
    body(watched, rank);
  });
}

std::optional<Failure> look_until_it_fails(WatchedComm& watched) {
  for (auto time = Clock::now();; time += WatchedComm::kPeriod) {
    if (auto failure = watched.look(time)) {
      watched.give_up(*failure);
      return failure;
    }
    if (watched.failed()) return std::nullopt;
  }
}

TEST(WatchedRanks, hear_of_a_failure_on_another) {
  on_watched_ranks(3, [](WatchedComm& watched, int rank) {
    if (rank == 1) return watched.fail({.kind = FailureKind::native, .why = "the device is lost"});
    const auto failure = look_until_it_fails(watched);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->kind, FailureKind::peer_died);
    EXPECT_EQ(failure->why, "rank 1 gave up: the device is lost");
    EXPECT_TRUE(watched.revoked());
  });
}

TEST(WatchedRanks, all_find_calls_that_differ) {
  on_watched_ranks(2, [](WatchedComm& watched, int rank) {
    watched.note({.kind = rank == 0 ? Kind::barrier : Kind::all_reduce});
    const auto failure = look_until_it_fails(watched);
    ASSERT_TRUE(failure);
    EXPECT_THAT(failure->why, AllOf(HasSubstr("rank 0: barrier #0"), HasSubstr("rank 1: all_reduce #0")));
  });
}

TEST(WatchedRanks, close_together_and_are_left_alone_then) {
  on_watched_ranks(3, [](WatchedComm& watched, int) {
    watched.note({.kind = Kind::barrier});
    watched.close(kLong);
    EXPECT_FALSE(watched.look(Clock::now() + seconds(1)));
    EXPECT_FALSE(watched.failed());
  });
}

TEST(WatchedRanks, that_do_not_close_are_a_timeout) {
  on_watched_ranks(2, [](WatchedComm& watched, int rank) {
    if (rank == 1) return;
    try {
      watched.close(milliseconds(50));
      ADD_FAILURE() << "it did not throw";
    } catch (const BackendFailure& thrown) {
      EXPECT_EQ(thrown.failure.kind, FailureKind::timeout);
      EXPECT_THAT(thrown.failure.why, HasSubstr("not all ranks have closed the communicator (nccl)"));
    }
  });
}

TEST(HardExit, says_what_hangs_and_leaves_an_exit_record) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const test::TemporaryDirectory directory;
  setenv("LOCKSTEP_EXIT_DIR", directory.path().c_str(), 0);  // the process that exits has the first one's
  setenv("RANK", "3", 1);
  setenv("WORLD_SIZE", "4", 1);
  const auto leave = [] {
    WatchedComm(Libraries{}, nullptr, nullptr, true, "nccl").exits.hard_exit("ncclCommAbort has not returned");
  };
  EXPECT_EXIT(leave(), ExitedWithCode(static_cast<int>(ExitCode::internal)),
              "rank 3/4 .*giving up: ncclCommAbort has not returned. Fix: start the job again");
  const auto records = read_exit_records(directory.path());
  ASSERT_THAT(records, SizeIs(1));
  EXPECT_EQ(records[0].rank, 3);
  EXPECT_THAT(records[0].cause, HasSubstr("ncclCommAbort has not returned"));
  for (const char* const name : {"LOCKSTEP_EXIT_DIR", "RANK", "WORLD_SIZE"}) unsetenv(name);
}

}  // namespace
}  // namespace lockstep::comm::gpu
