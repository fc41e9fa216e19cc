// SPDX-License-Identifier: Apache-2.0
// The commonest faults and what the user is told: what failed, why, with the native text, and one thing to do. The
// table in docs/errors.md lists them.
#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "comm/shm_processes.hpp"
#include "comm/thread_ranks.hpp"
#include "comm/thrown_text.hpp"
#include "lockstep/base/error.hpp"
#include "shm/arena.hpp"
#include "shm/fd_exchange.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using std::chrono::milliseconds;

constexpr auto kDeadline = milliseconds(1000);  // all who come have come by then, on a busy machine too
constexpr std::uint64_t kMiB = 1 << 20;

template <class What, class Why, class Fix>
auto says(What what, Why why, Fix fix) {
  return AllOf(Field("what", &ErrorText::what, what), Field("why", &ErrorText::why, why),
               Field("fix", &ErrorText::fix, fix));
}

// Calls that differ between rank 0 and rank 1 of two.
struct Disagreement {
  std::string name;
  void (*call)(Communicator& world);
  std::string what;
  std::string why;
};

const Disagreement kDisagreements[] = {
    {"wrong_count",
     [](Communicator& world) {
       float values[2] = {};
       world.all_reduce({values, world.rank() + 1, DType::float32}).wait();
     },
     "all_reduce #0 (1 × float32",
     "a collective with different numbers of elements: rank 0: all_reduce #0 (1 × float32, sum, 2 leaves); "
     "rank 1: all_reduce #0 (2 × float32, sum, 2 leaves)"},
    {"wrong_dtype",
     [](Communicator& world) {
       std::int64_t value = 0;
       world.all_reduce({&value, 1, world.rank() == 0 ? DType::int64 : DType::float64}).wait();
     },
     "all_reduce #0 (1 × int64",
     "a collective with different dtypes: rank 0: all_reduce #0 (1 × int64, sum, 2 leaves); "
     "rank 1: all_reduce #0 (1 × float64, sum, 2 leaves)"},
    {"wrong_op",
     [](Communicator& world) {
       float value = 0;
       world.all_reduce({&value, 1, DType::float32}, world.rank() == 0 ? ReduceOp::sum : ReduceOp::max).wait();
     },
     "all_reduce #0 (1 × float32, sum",
     "a collective with different operations: rank 0: all_reduce #0 (1 × float32, sum, 2 leaves); "
     "rank 1: all_reduce #0 (1 × float32, max, 2 leaves)"},
    {"wrong_root",
     [](Communicator& world) {
       float value = 0;
       world.broadcast(Buffer{&value, 1, DType::float32}, world.rank()).wait();
     },
     "broadcast #0 (1 × float32, root 0)",
     "a collective with different roots: rank 0: broadcast #0 (1 × float32, root 0); "
     "rank 1: broadcast #0 (1 × float32, root 1)"},
    {"wrong_order",
     [](Communicator& world) {
       float value = 0;
       if (world.rank() == 0) world.barrier();
       world.all_reduce({&value, 1, DType::float32}).wait();
     },
     "barrier #0", "different collectives: rank 0: barrier #0; rank 1: all_reduce #0 (1 × float32, sum, 2 leaves)"},
};

class FaultTexts : public ::testing::TestWithParam<std::tuple<Disagreement, std::string>> {};

TEST_P(FaultTexts, of_calls_that_differ_name_both_and_in_what) {
  const auto& [fault, backend] = GetParam();
  on_threads(backend, 2, [&fault = fault](Communicator& world) {
    const ErrorText text = text_of<MismatchError>([&] { fault.call(world); });
    EXPECT_THAT(text.who, StartsWith("rank " + std::to_string(world.rank()) + "/2 "));
    EXPECT_THAT(text, says(HasSubstr(world.rank() == 0 ? fault.what : " #0"), "ranks called " + fault.why,
                           HasSubstr(fault.name == "wrong_order" ? "a branch that only some ranks take"
                                                                 : "the same on every rank")));
  });
}

INSTANTIATE_TEST_SUITE_P(Disagreements, FaultTexts,
                         ::testing::Combine(::testing::ValuesIn(kDisagreements), ::testing::Values("local", "shm")),
                         [](const auto& instance) {
                           return std::get<0>(instance.param).name + "_on_" + std::get<1>(instance.param);
                         });

TEST(FaultTexts, of_a_rank_that_never_calls_list_who_arrived_and_who_did_not) {
  for (const char* const backend : {"local", "shm"}) {
    on_threads(backend, 5, [](Communicator& world) {
      if (world.rank() == 3) return;
      const ErrorText text = text_of<TimeoutError>([&] { world.barrier({.timeout = kDeadline}); });
      EXPECT_THAT(text, says(HasSubstr("barrier #0 on \"world\""),
                             AllOf(HasSubstr("waiting for rank 3 ("), HasSubstr("; arrived: 0-2, 4")),
                             HasSubstr("a branch that skips this call")));
    });
  }
}

// What rank 0 tells of, where all ranks but `victim` come to an end by themselves.
std::string error_of_rank_0(int ranks, int victim, const std::function<void(Communicator&)>& body) {
  constexpr int kLongest = 2000;
  const auto error = shared_array<char>(kLongest);
  ShmProcesses processes(ranks, std::chrono::seconds(30), [&](Communicator& world) {
    try {
      body(world);
    } catch (const Error& caught) {
      if (world.rank() == 0) std::strncpy(error.get(), caught.what(), kLongest - 1);
    }
    return 0;
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == victim) continue;
    EXPECT_EQ(processes.wait(rank, deadline), 0);
  }
  return error.get();
}

TEST(FaultTexts, of_a_dead_rank_name_its_process) {
  const std::string error = error_of_rank_0(2, 1, [](Communicator& world) {
    if (world.rank() == 1) raise(SIGKILL);
    world.barrier();
  });
  EXPECT_THAT(error, AllOf(StartsWith("[rank 0/2 here] barrier #0"), HasSubstr(": rank 1 (pid "),
                           HasSubstr(" on here) died. Fix: look for its own error, the kernel's out-of-memory log")));
}

TEST(FaultTexts, of_a_rank_that_aborts_carry_its_reason) {
  const std::string error = error_of_rank_0(2, 1, [](Communicator& world) {
    if (world.rank() == 1) {
      world.abort("shard 7 is truncated");
      pause();  // else its end may be seen first
    }
    world.barrier();
  });
  EXPECT_THAT(error, AllOf(StartsWith("[rank 0/2 here] barrier #0"),
                           HasSubstr("rank 1 gave up: shard 7 is truncated. Fix: see the error of that rank")));
}

TEST(FaultTexts, of_a_stopped_rank_name_it_and_what_to_look_for) {
  const std::string error = error_of_rank_0(3, 1, [](Communicator& world) {
    if (world.rank() == 1) raise(SIGSTOP);
    world.barrier({.timeout = kDeadline});
  });
  EXPECT_THAT(error, AllOf(StartsWith("[rank 0/3 here] barrier #0"), HasSubstr("timed out after 1."),
                           HasSubstr("waiting for rank 1 (here); arrived: 0, 2. Fix: "), HasSubstr("stopped")));
}

TEST(FaultTexts, of_too_little_memory_name_both_figures) {
  comm::shm::Arena arena({.available = [] { return 100 * kMiB; }});
  const ErrorText text = text_of<IoError>([&] { (void)arena.allocate(200 * kMiB); });
  EXPECT_THAT(text, says("shared memory of 209715200 bytes",
                         AllOf(HasSubstr("276824064 bytes are needed"), HasSubstr("104857600 are available")),
                         HasSubstr("fewer ranks on this host")));
}

TEST(FaultTexts, of_memory_that_the_kernel_refuses_carry_its_text) {
  const comm::shm::MemorySource full{.available = [] { return 1000 * kMiB; },
                                     .reserve =
                                         [](int, int, off_t, off_t) {
                                           errno = ENOSPC;
                                           return -1;
                                         }};
  const ErrorText text = text_of<IoError>([&] { comm::shm::Arena arena(full); });
  EXPECT_THAT(text, says(HasSubstr("shared memory of "),
                         AllOf(HasSubstr("fallocate of 2097152 bytes: No space left on device"),
                               HasSubstr("1048576000 bytes are available")),
                         HasSubstr("a larger memory limit")));
}

// In a process of its own, because the limit cannot be raised again.
TEST(FaultTexts, of_a_limit_on_file_sizes_name_the_limit) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    const ErrorText text = text_of<IoError>([] { comm::shm::Arena arena; });
    const bool right =
        ::testing::Value(text, says("shared memory", HasSubstr("1048576 bytes here (RLIMIT_FSIZE) and " +
                                                               std::to_string(comm::shm::Arena::kReserved)),
                                    HasSubstr("ulimit -f unlimited")));
    _exit(right ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// As for a rank in another network namespace, where nobody listens to the name.
TEST(FaultTexts, of_memory_that_cannot_be_handed_over_name_the_namespace) {
  const std::string name = "lockstep-nobody-" + std::to_string(getpid());
  comm::shm::FdExchange exchange(name, 1, 2, std::chrono::seconds(1));
  const ErrorText text = text_of<CommError>([&] { exchange.open(milliseconds(0)); });
  EXPECT_THAT(text, says("meeting of the 2 ranks of this host", "rank 0 listens, and cannot be reached from here",
                         AllOf(HasSubstr("share its network namespace"), HasSubstr("comm.backend=mpi"))));
}

TEST(FaultTexts, of_memory_that_nobody_fetches_say_who_is_waited_for) {
  const std::string name = "lockstep-alone-" + std::to_string(getpid());
  comm::shm::Arena arena;
  comm::shm::FdExchange exchange(name, 0, 2, milliseconds(200));
  exchange.open(milliseconds(0));
  const ErrorText text = text_of<TimeoutError>([&] { (void)exchange.exchange(arena.file()); });
  EXPECT_THAT(text, says("meeting of the 2 ranks of this host", "timed out after 0.2 s waiting for rank 1",
                         HasSubstr("see whether these were started, on this host")));
}

TEST(FaultTexts, of_a_strided_tensor_say_how_to_make_it_dense) {
  run_local_ranks(1, [](Communicator& world) {
    at::Tensor strided = at::ones({4, 4}).slice(1, 0, 4, 2);
    const ErrorText text = text_of<UsageError>([&] { (void)world.all_reduce(strided); });
    EXPECT_THAT(text, says("all_reduce", "the tensor is not dense", "call contiguous() first"));
  });
}

TEST(FaultTexts, of_a_dtype_that_is_not_moved_name_it) {
  run_local_ranks(1, [](Communicator& world) {
    at::Tensor complex = at::ones({4}, at::kComplexFloat);
    const ErrorText text = text_of<UsageError>([&] { (void)world.all_reduce(complex); });
    EXPECT_THAT(text, says("a tensor of dtype ComplexFloat", "lockstep does not move this dtype", Not(IsEmpty())));
  });
}

TEST(FaultTexts, of_shm_across_hosts_name_two_hosts) {
  const std::vector<comm::Peer> peers{{.host = "n01"}, {.host = "n01"}, {.host = "n02", .node = 1}};
  const ErrorText text = comm::shm::shm_refused(comm::shm::several_hosts(peers)).text();
  EXPECT_THAT(text, says("comm.backend=shm", "the ranks are on several hosts: rank 0 on n01, rank 2 on n02",
                         HasSubstr("leave comm.backend out")));
  EXPECT_EQ(comm::shm::several_hosts({{.host = "n01"}, {.host = "n01"}}), "");
}

}  // namespace
}  // namespace lockstep::testing
