// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/comm/communicator.hpp"
#include "work_state.hpp"

namespace lockstep {

class Communicator::Impl {
 public:
  // `parent`, `branch`: of the flight recorder, see add_group().
  Impl(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout,
       std::shared_ptr<ProgressEngine> progress, const flight::Group* parent, std::string_view branch);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  // Numbers the call, hands it to the backend and registers the work.
  [[nodiscard]] Work start(comm::Request request, const CollectiveOptions& options);
  // A call without a reduction; `part`: what each rank gives or gets. `parts`: of different sizes, `own` this rank's.
  [[nodiscard]] Work move(comm::Kind kind, void* output, const void* input, Buffer part, int root,
                          const CollectiveOptions& options);
  [[nodiscard]] Work move_parts(comm::Kind kind, void* output, const void* input, Buffer own,
                                std::span<const std::int64_t> parts, int root, const CollectiveOptions& options);
  // Throw UsageError.
  void check_rank(int rank, comm::Kind kind) const;
  void check_parts(std::span<const std::int64_t> parts, comm::Kind kind) const;
  void check_own_part(std::span<const std::int64_t> parts, Buffer own, comm::Kind kind) const;

  std::shared_ptr<CommunicatorState> state;
  std::shared_ptr<ProgressEngine> progress;

 private:
  [[nodiscard]] std::uint64_t next_sequence(const comm::Call& call);
  std::uint64_t next_sequence_ = 0;
  std::vector<std::uint64_t> next_sent_, next_received_;  // by peer
};

template <class Make>
std::unique_ptr<comm::Backend> Communicator::make_backend(std::string subject, const Make& make) {
  impl_->state->throw_if_failed();
  barrier();  // agrees that all ranks are here, under the deadline, before the backend's own collective
  std::unique_ptr<comm::Backend> made;
  try {
    const Waiting waiting(impl_->progress->observer);
    made = make(*impl_->state->backend);
  } catch (const comm::BackendFailure& thrown) {
    impl_->state->fail(std::move(subject), thrown.failure);
  }
  barrier();  // nobody uses the new one, and lets it fail, before all have it
  return made;
}

}  // namespace lockstep
