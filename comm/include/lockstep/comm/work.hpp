// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

namespace lockstep {

// A collective in flight. Keeps its tensors alive. Destroying one waits for it; an error found then is thrown by the
// communicator's next call, because destructors never throw.
class [[nodiscard]] Work {
 public:
  struct State;
  explicit Work(std::shared_ptr<State> state) noexcept;
  Work(Work&&) noexcept;
  Work& operator=(Work&&) noexcept;
  ~Work();

  // Returns when the result is in place. Of memory on a GPU (gpu.hpp): when the calling thread's current stream has been
  // told to wait for it, so that what is queued from then on sees it; the host does not wait. Throws TimeoutError, PeerDied, MismatchError, or what first failed this
  // communicator.
  void wait();
  // Whether the result is in place, on a GPU too. Never blocks; advances all work in flight on this rank. Throws like wait().
  [[nodiscard]] bool done();
  // Holds `memory` (tensors, say) until the collective no longer needs it.
  void keep_alive(std::shared_ptr<void> memory);

 private:
  std::shared_ptr<State> state_;
};

// Waits for a group of works, in whatever order they end: a batch of sends and receives, say. Throws what first failed.
void wait_all(std::span<Work> works);

}  // namespace lockstep
