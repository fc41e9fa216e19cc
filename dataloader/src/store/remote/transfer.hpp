// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "store/remote/fetcher.hpp"

namespace lockstep::remote {

// What came of one attempt.
struct Verdict {
  enum class Kind { done, again, hopeless };
  Kind kind = Kind::done;
  Response response{};                    // where done
  std::string why{};                      // else
  std::string fix{};                      // else
  std::chrono::milliseconds wait_for{0};  // again: what the server asked for
};

[[nodiscard]] Verdict failure(Verdict::Kind kind, std::string why, std::string fix);

// One attempt at a request: a curl handle, and what has come so far.
class Transfer {
 public:
  using Clock = std::chrono::steady_clock;

  Transfer(const Request& request, const Credentials& credentials, const RemoteOptions& options);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  [[nodiscard]] CURL* handle() const noexcept { return handle_.get(); }
  [[nodiscard]] Clock::time_point last_byte() const noexcept { return last_byte_; }
  [[nodiscard]] Clock::duration longest_wait() const noexcept { return longest_wait_; }  // for bytes
  // After the transfer has ended with `code`.
  [[nodiscard]] Verdict judge(CURLcode code);

 private:
  static std::size_t write(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  [[nodiscard]] std::size_t take(const std::byte* data, std::size_t bytes);
  [[nodiscard]] Verdict judge_failure(CURLcode code) const;
  [[nodiscard]] Verdict judge_status(long status) const;
  [[nodiscard]] Verdict judge_body(long status);
  [[nodiscard]] std::string header(const char* name) const;
  [[nodiscard]] long status() const;

  const Request& request_;  // of the job, which lives longer
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle_;
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers_{nullptr, &curl_slist_free_all};
  std::array<char, CURL_ERROR_SIZE> error_{};
  Clock::time_point last_byte_ = Clock::now();  // or the start
  Clock::duration longest_wait_{};
  std::vector<std::byte> body_;
  bool too_long_ = false;
};

}  // namespace lockstep::remote
