// SPDX-License-Identifier: Apache-2.0
// Ranks that meet without MPI: each is a process of its own, with the variables that a launcher would set.
#include "lockstep/comm/rendezvous.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "lockstep/base/error.hpp"
#include "shm/fd_exchange.hpp"
#include "shm/shm_world.hpp"
#include "topology.hpp"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kEnough = milliseconds(30'000);
constexpr auto kSoon = milliseconds(300);

using Variables = std::map<std::string, std::string>;

Variables rank_of(int rank, int world_size, const std::string& job = "job") {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(world_size)},
          {"LOCKSTEP_RENDEZVOUS", job + " of " + std::to_string(getpid())}};
}

void become(const Variables& variables) {
  for (const auto* const name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "MASTER_PORT", "RANK", "WORLD_SIZE",
                                 "LOCAL_WORLD_SIZE", "LOCKSTEP_RENDEZVOUS"}) {
    unsetenv(name);
  }
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
}

class Pipe {
 public:
  Pipe() {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    from_ = FileDescriptor(ends[0]);
    to_ = FileDescriptor(ends[1]);
  }
  void tell() const {
    if (write(to_.get(), "x", 1) != 1) std::abort();
  }
  void wait() const {
    char byte = 0;
    if (read(from_.get(), &byte, 1) != 1) std::abort();
  }

 private:
  FileDescriptor from_, to_;
};

// A process that says what `body` returns, or the error that it throws.
class Process {
 public:
  Process(const Variables& variables, const std::function<std::string()>& body) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      become(variables);
      std::string said;
      try {
        said = body();
      } catch (const std::exception& error) {
        said = error.what();
      }
      _exit(write(ends[1], said.data(), said.size()) < 0 ? 1 : 0);
    }
    close(ends[1]);
    output_ = FileDescriptor(ends[0]);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { waitpid(pid_, nullptr, 0); }

  [[nodiscard]] std::string said() {
    std::string text;
    char bytes[4096];
    for (ssize_t got = 0; (got = read(output_.get(), bytes, sizeof bytes)) > 0;) {
      text.append(bytes, static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  pid_t pid_ = -1;
  FileDescriptor output_;
};

// A rank that adds up `value` over its job.
Process sum(const Variables& variables, std::int64_t value, milliseconds timeout = kEnough) {
  return {variables, [value, timeout] {
            Communicator world = rendezvous_world(timeout);
            std::int64_t sum = value;
            world.all_reduce({&sum, 1, DType::int64}).wait();
            world.barrier();
            return std::string(world.backend_name()) + " " + std::to_string(sum);
          }};
}

comm::shm::FdExchange exchange_of(int rank, int world_size) {
  return {comm::rank_variables().meeting_place, rank, world_size, kEnough};
}

TEST(Rendezvous, ranks_meet_and_reduce) {
  Process two = sum(rank_of(2, 3), 4);
  Process one = sum(rank_of(1, 3), 2);
  Process zero = sum(rank_of(0, 3), 1);
  for (Process* const rank : {&zero, &one, &two}) EXPECT_EQ(rank->said(), "shm 7");
}

TEST(Rendezvous, one_rank_is_a_job) { EXPECT_EQ(sum(rank_of(0, 1), 5).said(), "shm 5"); }

TEST(Rendezvous, the_others_wait_for_a_late_rank_0) {
  Process one = sum(rank_of(1, 2), 2);
  std::this_thread::sleep_for(milliseconds(100));
  Process zero = sum(rank_of(0, 2), 1);
  EXPECT_EQ(one.said(), "shm 3");
}

TEST(Rendezvous, two_jobs_at_once_do_not_meet) {
  Process a1 = sum(rank_of(1, 2, "a"), 1);
  Process b1 = sum(rank_of(1, 2, "b"), 10);
  Process a0 = sum(rank_of(0, 2, "a"), 1);
  Process b0 = sum(rank_of(0, 2, "b"), 10);
  EXPECT_EQ(a0.said(), "shm 2");
  EXPECT_EQ(b0.said(), "shm 20");
}

TEST(Rendezvous, names_the_ranks_that_do_not_come) {
  Process zero = sum(rank_of(0, 4), 0, kSoon);
  Process two = sum(rank_of(2, 4), 0, kEnough);
  EXPECT_THAT(zero.said(), AllOf(StartsWith("[rank 0/4 "), HasSubstr("timed out after 0.3 s waiting for ranks 1, 3."),
                                 HasSubstr("several hosts need MPI")));
  EXPECT_THAT(two.said(), AllOf(StartsWith("[rank 2/4 "), HasSubstr("rank 0 gave up: "), HasSubstr("for ranks 1, 3")));
}

TEST(Rendezvous, names_rank_0_if_it_does_not_come) {
  Process one = sum(rank_of(1, 2), 0, kSoon);
  EXPECT_THAT(one.said(), AllOf(HasSubstr("waiting for rank 0."), HasSubstr("several hosts need MPI")));
}

TEST(Rendezvous, all_hear_of_a_rank_that_ends_before_all_have_met) {
  const Pipe two_is_there;
  Process zero = sum(rank_of(0, 4), 0);
  Process two(rank_of(2, 4), [&] {
    auto exchange = exchange_of(2, 4);
    exchange.open(kEnough);
    two_is_there.tell();
    (void)exchange.exchange(comm::shm::make_world_arena(4)->file());
    return "";
  });
  Process one(rank_of(1, 4), [&] {
    auto exchange = exchange_of(1, 4);
    exchange.open(kEnough);
    two_is_there.wait();
    return "";
  });
  EXPECT_THAT(zero.said(), AllOf(HasSubstr("rank 1 (pid "), HasSubstr(" ended before all had met")));
  EXPECT_THAT(two.said(), AllOf(HasSubstr("rank 0 gave up: rank 1 (pid ")));
}

TEST(Rendezvous, the_others_hear_that_rank_0_ended) {
  const Pipe one_is_there;
  Process zero(rank_of(0, 2), [&] {
    auto exchange = exchange_of(0, 2);
    exchange.open(kEnough);
    one_is_there.wait();
    return "";
  });
  Process one(rank_of(1, 2), [&] {
    auto exchange = exchange_of(1, 2);
    exchange.open(kEnough);
    one_is_there.tell();
    (void)exchange.exchange(comm::shm::make_world_arena(2)->file());
    return "";
  });
  EXPECT_THAT(one.said(), HasSubstr("rank 0 ended before all had met"));
}

TEST(Rendezvous, refuses_two_processes_of_one_rank) {
  Process zero = sum(rank_of(0, 3), 0);
  Process one = sum(rank_of(1, 3), 0);
  Process also_one = sum(rank_of(1, 3), 0);
  EXPECT_THAT(zero.said(), AllOf(HasSubstr("rank 1 (pid "), HasSubstr("are the same rank"), HasSubstr("RANK")));
  for (Process* const rank : {&one, &also_one}) EXPECT_THAT(rank->said(), HasSubstr("rank 0 gave up: "));
}

TEST(Rendezvous, refuses_ranks_that_were_told_different_world_sizes) {
  Process zero = sum(rank_of(0, 2), 0);
  Process two = sum(rank_of(2, 3), 0);
  EXPECT_THAT(zero.said(), HasSubstr("was started as one of 3 ranks, rank 0 as one of 2"));
  EXPECT_THAT(two.said(), HasSubstr("rank 0 gave up: "));
}

TEST(Rendezvous, a_second_rank_0_is_refused) {
  const Variables variables = rank_of(0, 2);
  Process zero(variables, [&] {
    auto exchange = exchange_of(0, 2);
    exchange.open(kEnough);
    return sum(variables, 0).said();
  });
  EXPECT_THAT(zero.said(), HasSubstr("another process is rank 0 of a job of the same name"));
}

// Whoever learns the name may connect; it must not matter.
TEST(Rendezvous, is_not_disturbed_by_a_process_that_is_no_rank) {
  Process zero = sum(rank_of(0, 2), 1);
  become(rank_of(0, 2));
  const std::string place = comm::rank_variables().meeting_place;
  const auto stranger = [&] {
    FileDescriptor socket;
    while (!(socket = comm::shm::connect_to(place))) std::this_thread::yield();
    return socket;
  };
  const FileDescriptor silent = stranger();
  const FileDescriptor of_another_protocol = stranger();
  comm::shm::send(of_another_protocol, {.protocol = 1});
  const FileDescriptor out_of_place = stranger();
  comm::shm::send(out_of_place, {.kind = comm::shm::Message::Kind::memory, .rank = 1});
  stranger();  // and leaves
  Process one = sum(rank_of(1, 2), 2);
  EXPECT_EQ(zero.said(), "shm 3");
  EXPECT_EQ(one.said(), "shm 3");
}

struct Wrong {
  Variables variables;
  std::string text;
};

TEST(RankVariables, are_refused_with_what_is_wrong) {
  const std::vector<Wrong> cases{
      {{{"RANK", "x"}, {"WORLD_SIZE", "2"}}, "RANK=x"},
      {{{"RANK", "-1"}, {"WORLD_SIZE", "2"}}, "RANK=-1"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "0"}}, "WORLD_SIZE=0"},
      {{{"RANK", "1 "}, {"WORLD_SIZE", "2"}}, "whole number"},
      {{{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "ranks are 0 to 1"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}}, "no name under which they meet"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "4"}, {"LOCAL_WORLD_SIZE", "2"}, {"MASTER_PORT", "1"}},
       "2 of them are on this host (LOCAL_WORLD_SIZE), and without MPI all must be. Fix: across hosts start them with "
       "MPI: mpirun"},
  };
  for (const auto& [variables, text] : cases) {
    EXPECT_THAT(sum(variables, 0, kSoon).said(), HasSubstr(text));
  }
}

TEST(RankVariables, torchruns_own_are_a_name) {
  const auto place = [](const std::string& port, const std::string& restarts) {
    return Process({{"RANK", "0"},
                    {"WORLD_SIZE", "2"},
                    {"LOCAL_WORLD_SIZE", "2"},
                    {"MASTER_PORT", port},
                    {"MASTER_ADDR", "n07"},
                    {"TORCHELASTIC_RUN_ID", "none"},
                    {"TORCHELASTIC_RESTART_COUNT", restarts}},
                   [] { return comm::rank_variables().meeting_place; })
        .said();
  };
  EXPECT_EQ(place("29500", "0"), place("29500", "0"));
  EXPECT_NE(place("29500", "0"), place("29501", "0"));
  EXPECT_NE(place("29500", "0"), place("29500", "1"));
}

TEST(RankVariables, count_only_where_mpi_did_not_start_us) {
  const auto counts = [](const Variables& variables) {
    return Process(variables, [] { return started_without_mpi() ? "yes" : "no"; }).said();
  };
  EXPECT_EQ(counts({{"RANK", "0"}, {"WORLD_SIZE", "1"}}), "yes");
  EXPECT_EQ(counts({{"RANK", "0"}}), "no");
  EXPECT_EQ(counts({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_SIZE", "2"}}), "no");
}

}  // namespace
}  // namespace lockstep
