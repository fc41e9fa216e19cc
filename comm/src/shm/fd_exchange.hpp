// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "host_socket.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep::comm::shm {

// The ranks of a host after they have met, by rank.
struct Members {
  std::vector<Member> members;
  std::vector<FileDescriptor> files;  // everybody's memory; ours is a duplicate
};

// Gives every rank of this host a descriptor of every other rank's memory file, and what the others say of themselves.
// Rank 0 listens at a socket; the others send it theirs and get all. They go on together, or fail together: a rank that
// goes before all have everything ends the wait of the others, and who fails tells them why. `name` must be the same on
// all ranks and another one for every job. A process of another user is refused, one that is no rank is not heard.
//
// Collective. All throw TimeoutError naming the ranks that do not come within `timeout`, PeerDied naming one that has
// gone, UsageError where ranks were started with different numbers, CommError for a socket that fails.
class FdExchange {
 public:
  FdExchange(std::string name, int rank, int world_size, std::chrono::milliseconds timeout);

  // Rank 0 listens from here on. The others tell it who they are, so that their end is noticed; they wait for it at
  // most `patience`, which is 0 where it is known to listen.
  void open(std::chrono::milliseconds patience);
  [[nodiscard]] Members exchange(const FileDescriptor& own);

 private:
  struct Seat {  // of a rank, at rank 0
    FileDescriptor socket;
    Member member;
    FileDescriptor file;
  };

  [[nodiscard]] Members ask(const FileDescriptor& own);
  [[nodiscard]] Received answer(Message::Kind kind);

  [[nodiscard]] Members serve(const FileDescriptor& own);
  [[nodiscard]] std::vector<int> missing() const;
  void meet();
  void admit(FileDescriptor socket);
  void take_memory_of(int rank);
  void give_to(int rank);
  void tell_all(const Message& message);

  [[nodiscard]] std::string who() const;
  [[nodiscard]] std::string what() const;
  [[noreturn]] void timed_out(std::chrono::milliseconds after, const std::string& waited_for) const;
  [[noreturn]] void rank_is_gone(int rank) const;
  [[noreturn]] void rank_0_is_out_of_reach() const;

  std::string name_;
  int rank_;
  int world_size_;
  std::chrono::milliseconds timeout_;
  Deadline deadline_;
  Member self_;
  FileDescriptor socket_;                  // rank 0: that listens; others: to rank 0
  std::vector<Seat> seats_;                // rank 0: by rank
  std::vector<FileDescriptor> newcomers_;  // rank 0: who have not said who they are
};

}  // namespace lockstep::comm::shm
