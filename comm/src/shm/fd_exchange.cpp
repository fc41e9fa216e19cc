// SPDX-License-Identifier: Apache-2.0
#include "fd_exchange.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/base/host.hpp"
#include "memory_limits.hpp"

namespace lockstep::comm::shm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kLongestPause = milliseconds(20);  // between two looks whether rank 0 listens
constexpr auto kPatience = milliseconds(2000);    // after the deadline: rank 0 says who is missing, the others hear it

Member self(int rank) {
  Member own{.record = own_record(), .usable_cpus = usable_cpus()};
  own.record.local_rank = rank;
  sched_getaffinity(0, sizeof own.cpus, &own.cpus);
  return own;
}

// False when `deadline` has passed.
bool wait_for(std::vector<pollfd>& descriptors, Deadline deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
  return poll(descriptors.data(), descriptors.size(), static_cast<int>(std::max<std::int64_t>(left, 0))) != 0;
}

bool wait_for(const FileDescriptor& descriptor, Deadline deadline, short events) {
  std::vector<pollfd> one{{descriptor.get(), events, 0}};
  return wait_for(one, deadline);
}

Message failure(const Error& error) {
  const auto* const died = dynamic_cast<const PeerDied*>(&error);
  Message message{.kind = Message::Kind::failed, .rank = died == nullptr ? 0 : died->rank()};
  error.text().why.copy(message.text.data(), message.text.size() - 1);
  return message;
}

std::string name_of(int rank, const Member& member) {
  return fmt::format("rank {} (pid {} on {})", rank, member.record.pid, member.record.host);
}

}  // namespace

FdExchange::FdExchange(std::string name, int rank, int world_size, milliseconds timeout)
    : name_(std::move(name)),
      rank_(rank),
      world_size_(world_size),
      timeout_(timeout),
      deadline_(Clock::now() + timeout),
      self_(self(rank)),
      seats_(rank == 0 ? static_cast<std::size_t>(world_size) : 0) {}

std::string FdExchange::who() const { return fmt::format("rank {}/{} {}", rank_, world_size_, host_name()); }

std::string FdExchange::what() const { return fmt::format("meeting of the {} ranks of this host", world_size_); }

void FdExchange::timed_out(milliseconds after, const std::string& waited_for) const {
  throw TimeoutError({.who = who(),
                      .what = what(),
                      .why = fmt::format("timed out after {:.1f} s waiting for {}", after.count() / 1000.0, waited_for),
                      .fix = "see whether these were started, on this host, with the same settings, and live; ranks on "
                             "several hosts need MPI: start them with mpirun, or srun --mpi=pmix"});
}

void FdExchange::rank_is_gone(int rank) const {
  const std::string name =
      rank_ == 0 ? name_of(rank, seats_[static_cast<std::size_t>(rank)].member) : fmt::format("rank {}", rank);
  throw PeerDied({.who = who(),
                  .what = what(),
                  .why = fmt::format("{} ended before all had met", name),
                  .fix = "look for its own error, the kernel's out-of-memory log, or who sent it a signal"},
                 rank);
}

void FdExchange::rank_0_is_out_of_reach() const {
  throw CommError({.who = who(),
                   .what = what(),
                   .why = "rank 0 listens, and cannot be reached from here",
                   .fix = "ranks of one host must share its network namespace; comm.backend=mpi does without"});
}

void FdExchange::open(milliseconds patience) {
  if (world_size_ == 1) return;
  if (rank_ == 0) {
    socket_ = listen_at(name_, world_size_);
    return;
  }
  const Deadline until = Clock::now() + patience;
  for (auto pause = milliseconds(1); !(socket_ = connect_to(name_)); pause = std::min(2 * pause, kLongestPause)) {
    if (patience == milliseconds(0)) rank_0_is_out_of_reach();
    if (Clock::now() >= until) timed_out(patience, "rank 0");
    std::this_thread::sleep_for(pause);
  }
  send(socket_, {.kind = Message::Kind::hello, .rank = rank_, .world_size = world_size_, .member = self_});
}

Members FdExchange::exchange(const FileDescriptor& own) {
  if (rank_ != 0) return ask(own);
  try {
    return serve(own);
  } catch (const Error& error) {
    tell_all(failure(error));
    throw;
  }
}

// Of rank 0, which must be a message of `kind`.
Received FdExchange::answer(Message::Kind kind) {
  if (!wait_for(socket_, deadline_ + kPatience, POLLIN)) timed_out(timeout_, "rank 0");
  Received received = receive(socket_);
  if (received.good && received.message.kind == kind) return received;
  if (!received.good || received.message.kind != Message::Kind::failed) rank_is_gone(0);
  throw PeerDied({.who = who(),
                  .what = what(),
                  .why = fmt::format("rank 0 gave up: {}", received.message.text.data()),
                  .fix = "see the error of rank 0"},
                 received.message.rank);
}

Members FdExchange::ask(const FileDescriptor& own) {
  send(socket_, {.kind = Message::Kind::memory, .rank = rank_}, own.get());
  Members all;
  for (int rank = 0; rank < world_size_; ++rank) {
    Received received = answer(Message::Kind::member);
    all.members.push_back(received.message.member);
    all.files.push_back(std::move(received.file));
  }
  send(socket_, {.kind = Message::Kind::received, .rank = rank_});
  (void)answer(Message::Kind::done);
  return all;
}

Members FdExchange::serve(const FileDescriptor& own) {
  seats_[0].member = self_;
  seats_[0].file = FileDescriptor(fcntl(own.get(), F_DUPFD_CLOEXEC, 0));
  while (!missing().empty()) meet();
  for (int rank = 1; rank < world_size_; ++rank) give_to(rank);
  tell_all({.kind = Message::Kind::done});
  Members all;
  for (Seat& seat : seats_) {
    all.members.push_back(seat.member);
    all.files.push_back(std::move(seat.file));
  }
  return all;
}

std::vector<int> FdExchange::missing() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < world_size_; ++rank) {
    if (!seats_[static_cast<std::size_t>(rank)].file) ranks.push_back(rank);
  }
  return ranks;
}

// Waits until somebody connects, says something or goes, and deals with it.
void FdExchange::meet() {
  std::vector<pollfd> descriptors{{socket_.get(), POLLIN, 0}};
  for (const FileDescriptor& newcomer : newcomers_) descriptors.push_back({newcomer.get(), POLLIN, 0});
  for (const Seat& seat : seats_) descriptors.push_back({seat.socket.get(), POLLIN, 0});  // -1 is passed over
  if (!wait_for(descriptors, deadline_)) {
    timed_out(timeout_, fmt::format("rank{} {}", missing().size() == 1 ? "" : "s", fmt::join(missing(), ", ")));
  }
  auto next = descriptors.begin();
  const bool somebody_connects = (next++)->revents != 0;
  std::vector<FileDescriptor> silent;
  for (FileDescriptor& newcomer : std::exchange(newcomers_, {})) {
    if ((next++)->revents == 0) {
      silent.push_back(std::move(newcomer));
    } else {
      admit(std::move(newcomer));
    }
  }
  newcomers_ = std::move(silent);
  for (int rank = 0; rank < world_size_; ++rank) {
    if ((next++)->revents != 0) take_memory_of(rank);
  }
  if (!somebody_connects) return;
  if (FileDescriptor newcomer = accept_from(socket_)) newcomers_.push_back(std::move(newcomer));
}

// Hears who has connected. Who says nothing that a rank would say is left standing.
void FdExchange::admit(FileDescriptor socket) {
  const Received received = receive(socket);
  const Message& hello = received.message;
  if (!received.good || hello.kind != Message::Kind::hello) return;
  const auto refuse = [&](const std::string& why) {
    newcomers_.push_back(std::move(socket));  // it is told, too
    throw UsageError({.who = who(),
                      .what = what(),
                      .why = why,
                      .fix =
                          "give every rank its own number (RANK), and all the same WORLD_SIZE; give two jobs that run "
                          "at once different names (LOCKSTEP_RENDEZVOUS)"});
  };
  if (hello.world_size != world_size_) {
    refuse(fmt::format("{} was started as one of {} ranks, rank 0 as one of {}", name_of(hello.rank, hello.member),
                       hello.world_size, world_size_));
  }
  if (hello.rank < 1 || hello.rank >= world_size_) return;
  Seat& seat = seats_[static_cast<std::size_t>(hello.rank)];
  if (seat.socket) {
    refuse(fmt::format("{} and {} are the same rank", name_of(hello.rank, seat.member),
                       name_of(hello.rank, hello.member)));
  }
  seat.socket = std::move(socket);
  seat.member = hello.member;
}

void FdExchange::take_memory_of(int rank) {
  Seat& seat = seats_[static_cast<std::size_t>(rank)];
  Received received = receive(seat.socket);
  if (!received.good || received.message.kind != Message::Kind::memory || !received.file) rank_is_gone(rank);
  seat.file = std::move(received.file);
}

// One rank at a time: the kernel limits how many descriptors may be under way.
void FdExchange::give_to(int rank) {
  const FileDescriptor& socket = seats_[static_cast<std::size_t>(rank)].socket;
  for (int of = 0; of < world_size_; ++of) {
    const Seat& seat = seats_[static_cast<std::size_t>(of)];
    if (!wait_for(socket, deadline_, POLLOUT)) timed_out(timeout_, fmt::format("rank {}", rank));
    if (!send(socket, {.kind = Message::Kind::member, .rank = of, .member = seat.member}, seat.file.get())) {
      rank_is_gone(rank);
    }
  }
  if (!wait_for(socket, deadline_, POLLIN)) timed_out(timeout_, fmt::format("rank {}", rank));
  if (!receive(socket).good) rank_is_gone(rank);
}

void FdExchange::tell_all(const Message& message) {
  for (const Seat& seat : seats_) {
    if (seat.socket) send(seat.socket, message);
  }
  for (const FileDescriptor& newcomer : newcomers_) send(newcomer, message);
}

}  // namespace lockstep::comm::shm
