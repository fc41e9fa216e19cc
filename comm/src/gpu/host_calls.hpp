// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::gpu {

// Collectives of a few bytes over a backend for host memory, each waited for at most `timeout`. Throw BackendFailure
// that names who is missing.
class HostCalls {
 public:
  HostCalls(std::unique_ptr<Backend> backend, std::chrono::milliseconds timeout)
      : backend_(std::move(backend)), timeout_(timeout) {}

  template <class T>
  void broadcast(T& value, int root) {
    const auto size = static_cast<std::int64_t>(sizeof(T));
    const Bytes all =
        complete({.kind = Kind::broadcast, .root = root, .elements = size}, std::as_bytes(std::span(&value, 1)));
    std::memcpy(&value, all.data(), sizeof(T));
  }
  template <class T>
  [[nodiscard]] std::vector<T> all_gather(const T& own) {
    const auto size = static_cast<std::int64_t>(sizeof(T));
    const Bytes all = complete({.kind = Kind::all_gather, .elements = size}, std::as_bytes(std::span(&own, 1)));
    std::vector<T> values(all.size() / sizeof(T));
    std::memcpy(values.data(), all.data(), all.size());
    return values;
  }
  [[nodiscard]] Backend& backend() noexcept { return *backend_; }
  [[nodiscard]] const Backend& backend() const noexcept { return *backend_; }
  [[nodiscard]] std::chrono::milliseconds timeout() const noexcept { return timeout_; }

 private:
  using Bytes = std::vector<std::byte>;
  struct InFlight;
  [[nodiscard]] Bytes complete(Call call, std::span<const std::byte> own);
  void wait_for(Operation& operation);

  std::unique_ptr<Backend> backend_;
  std::chrono::milliseconds timeout_;
  std::uint64_t calls_ = 0;
};

}  // namespace lockstep::comm::gpu
