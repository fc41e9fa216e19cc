// SPDX-License-Identifier: Apache-2.0
#include "host_calls.hpp"

#include <fmt/format.h>

#include "../missing_ranks.hpp"

namespace lockstep::comm::gpu {

struct HostCalls::InFlight {
  Bytes input{}, output{};
  OperationPtr operation{};  // last: it uses the rest
};

HostCalls::Bytes HostCalls::complete(Call call, std::span<const std::byte> own) {
  call.sequence = calls_++;
  const std::size_t parts = call.kind == Kind::all_gather ? static_cast<std::size_t>(backend_->world_size()) : 1;
  auto flying = std::make_unique<InFlight>();
  flying->input.assign(own.begin(), own.end());
  flying->output.resize(own.size() * parts);
  flying->operation = backend_->start({.call = call, .input = flying->input.data(), .output = flying->output.data()});
  try {
    wait_for(*flying->operation);
  } catch (const BackendFailure&) {
    static_cast<void>(flying.release());  // a peer that is late may still look at it
    throw;
  }
  return std::move(flying->output);
}

void HostCalls::wait_for(Operation& operation) {
  const auto started = std::chrono::steady_clock::now();
  while (true) {
    const Advanced advanced = operation.advance(std::chrono::steady_clock::time_point::max());
    if (advanced == Advanced::fully) return;
    const auto waited = std::chrono::steady_clock::now() - started;
    if (waited > timeout_) {
      const std::vector<int> missing = operation.missing();
      throw BackendFailure{
          {.kind = FailureKind::timeout,
           .why = fmt::format("timed out after {:.1f} s waiting for {} to set up communication between GPUs",
                              timeout_.count() / 1000.0, names_of(missing, backend_->peers())),
           .fix = std::string(kFixOfMissingRanks),
           .culprit = missing.empty() ? -1 : missing.front()}};
    }
    if (advanced == Advanced::not_yet) backend_->idle(waited);
  }
}

}  // namespace lockstep::comm::gpu
