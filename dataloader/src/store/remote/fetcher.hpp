// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "store/remote/failure.hpp"
#include "store/remote/place.hpp"

namespace lockstep::remote {

struct Request {
  std::string url;
  std::string shown;         // for messages, without secrets
  bool head = false;         // only size and validator
  std::uint64_t offset = 0;  // with bytes > 0: of the range that is asked for
  std::uint64_t bytes = 0;   // 0: the whole, at most kLongestText
};

inline constexpr std::uint64_t kLongestText = 16U << 20U;

struct Response {
  long status = 0;  // 200, 206; 404, 410, 416: there is no such thing
  bool has_size = false;
  std::uint64_t size = 0;   // of the whole object
  std::string validator{};  // ETag, else Last-Modified, else empty
  std::vector<std::byte> body{};

  [[nodiscard]] bool found() const noexcept { return status < 300; }
};

// One thread that has up to 16 requests under way over kept connections, repeats what fails for reasons that pass, and
// asks a second time for what hangs for far longer than usual. Thread-safe.
class Fetcher {
 public:
  // Called once, on the fetcher's thread: with a response, or with null and what fetch() would throw. Must not own the
  // fetcher and must not throw.
  using Done = std::function<void(Response*, const Failure*)>;
  struct Job;

  Fetcher(Credentials credentials, const RemoteOptions& options);
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  ~Fetcher();  // What is not done is dropped; its Done is destroyed without a call.

  std::shared_ptr<Job> submit(Request request, Done done, bool urgent);
  void hurry(const std::shared_ptr<Job>& job);  // before all that still waits for its turn
  [[nodiscard]] std::size_t waiting() const;    // how many have not got their turn
  // Blocks. Throws IoError after the last attempt, or at once for what no repetition cures.
  [[nodiscard]] Response fetch(Request request);

 private:
  class Loop;
  const std::unique_ptr<Loop> loop_;
};

}  // namespace lockstep::remote
