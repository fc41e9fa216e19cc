// SPDX-License-Identifier: Apache-2.0
// What the cases share: who measures what where, the state that is saved, one timed save.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "limits.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/comm/communicator.hpp"
#include "memory.hpp"

namespace bench {

struct Bench {
  lockstep::Communicator& world;
  std::filesystem::path folder;  // empty, on the disk that is measured
  std::size_t bytes = 0;         // of the whole state, about
  int repeats = 3;

  // Collective. The longest of all ranks', or the largest.
  [[nodiscard]] double most(double value) const;
  // Collective. `work` on rank 0 alone, the others wait; its value on rank 0.
  template <class Work>
  auto on_first(Work work) const {
    world.barrier();
    decltype(work()) value{};
    if (world.rank() == 0) value = work();
    world.barrier();
    return value;
  }
  // Rank 0 prints one line of JSON: `case`, `contender`, ranks and bytes, and these.
  void print(const std::string& name, const std::string& contender, std::size_t state_bytes,
             nlohmann::json numbers) const;
  // Collective. Removes all checkpoints, and waits until the disk is idle again.
  void clear() const;
};

// The same bits on every rank: float32 tensors of equal size, of which every 100th changes in forward.
class State {
 public:
  // Collective. Ranks share its pages until they change them, or four of them would not fit into the memory.
  State(const Bench& bench, std::size_t bytes, std::size_t tensors);

  [[nodiscard]] lockstep::CheckpointContents contents(std::int64_t step) const;
  [[nodiscard]] Bytes whole_pages() const { return memory_.get(); }
  [[nodiscard]] std::vector<Bytes> pieces() const;
  [[nodiscard]] std::size_t bytes() const { return elements_ * sizeof(float) * tensors_; }
  [[nodiscard]] std::size_t name_bytes() const;
  // Flips all bits of tensors first, first + 100 … Twice: as before.
  void flip(std::size_t first);

 private:
  [[nodiscard]] std::span<std::byte> tensor(std::size_t index) const;
  std::size_t tensors_;
  std::size_t elements_;  // of one tensor
  Memory memory_;
};

struct SaveTimes {
  double stall = 0;    // of save(), the longest of all ranks'
  double durable = 0;  // of save() and finish()
  double faults = 0;   // page faults in save(), the most of all ranks'
  std::filesystem::path path{};
};
// Collective. Throws if it ends without a checkpoint.
SaveTimes timed_save(const Bench& bench, lockstep::CheckpointSaver& saver,
                     const lockstep::CheckpointContents& contents);
// Collective. Waits for the save in flight.
std::filesystem::path finished(lockstep::CheckpointSaver& saver);

[[nodiscard]] std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder);

// Work of one step of a trainer, which keeps a core busy: matrices are multiplied.
class Compute {
 public:
  Compute();
  // Collective. From here on a call takes about so long on an idle machine, the same work on every rank.
  void calibrate(const Bench& bench, double seconds);
  void operator()();

 private:
  void multiply();
  std::vector<float> a_, b_, c_;
  std::int64_t multiplications_ = 1;
};

// The cases.
void measure_limits(const Bench& bench);
void measure_saves(const Bench& bench);    // C1, C2, C21
void measure_overlap(const Bench& bench);  // C3
void measure_steps(const Bench& bench);    // C4
void measure_many(const Bench& bench);     // C19

}  // namespace bench
