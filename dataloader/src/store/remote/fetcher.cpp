// SPDX-License-Identifier: Apache-2.0
#include "store/remote/fetcher.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <variant>

#include "lockstep/base/mix.hpp"
#include "store/remote/transfer.hpp"

namespace lockstep::remote {

using Clock = Transfer::Clock;
using std::chrono::milliseconds;

struct Fetcher::Job {
  Request request;
  Done done;
  int attempts = 0;  // begun, without those that only doubled one
  int running = 0;
  bool doubled = false;
  Clock::time_point not_before{};
};

namespace {

constexpr std::size_t kConnections = 16;
constexpr std::size_t kDoubles = 4;  // more, for second requests
constexpr milliseconds kFirstBackoff{200};
constexpr milliseconds kLongestBackoff{20'000};
constexpr milliseconds kLongestRetryAfter{60'000};

// The longest wait for bytes within a range, of late: how soon one that hangs can be told. The whole duration would not
// do, because it changes with how many requests share the link.
class Waits {
 public:
  void add(Clock::duration longest) {
    recent_[count_++ % recent_.size()] = longest;
    if (count_ < recent_.size()) return;
    auto sorted = recent_;
    const auto p95 = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 95 / 100);
    std::nth_element(sorted.begin(), p95, sorted.end());
    far_longer_ = std::max<Clock::duration>(3 * *p95, kLeast);
  }
  [[nodiscard]] bool far_longer(Clock::duration wait) const { return wait > far_longer_; }

 private:
  static constexpr milliseconds kLeast{100};
  std::array<Clock::duration, 32> recent_{};
  std::size_t count_ = 0;
  Clock::duration far_longer_ = Clock::duration::max();  // until there is something to compare with
};

struct Running {
  std::shared_ptr<Fetcher::Job> job;
  std::unique_ptr<Transfer> transfer;
};

CURLM* new_multi() {
  static const auto initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM* const multi = initialised == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(2 * kConnections));
  return multi;
}

}  // namespace

// The thread and what it works on.
class Fetcher::Loop {
 public:
  Loop(Credentials credentials, const RemoteOptions& options)
      : credentials_(std::move(credentials)), options_(options), multi_(new_multi(), &curl_multi_cleanup) {
    thread_ = std::thread([this] { run(); });
    ::pthread_setname_np(thread_.native_handle(), "lockstep-fetch");
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  ~Loop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_.get());
    thread_.join();
    for (const auto& one : running_) curl_multi_remove_handle(multi_.get(), one.transfer->handle());
  }

  void push(std::shared_ptr<Job> job, bool urgent) {
    {
      const std::lock_guard lock(mutex_);
      urgent ? queue_.push_front(std::move(job)) : queue_.push_back(std::move(job));
    }
    curl_multi_wakeup(multi_.get());
  }

  void hurry(const std::shared_ptr<Job>& job) {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find(queue_, job);
    if (at != queue_.end()) std::rotate(queue_.begin(), at, at + 1);
  }

  std::size_t waiting() {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }

 private:
  void run() {
    while (!stopping()) {
      start_due();
      int still_running = 0;
      curl_multi_perform(multi_.get(), &still_running);
      int left = 0;
      while (const CURLMsg* const message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg == CURLMSG_DONE) finish(message->easy_handle, message->data.result);
      }
      watch();
      // Time limits and pauses are kept to 20 ms; with nothing under way only a wake-up ends the wait.
      const bool idle = running_.empty() && later_.empty() && waiting() == 0;
      curl_multi_poll(multi_.get(), nullptr, 0, idle ? 60'000 : 20, nullptr);
    }
  }

  bool stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  void start_due() {
    const auto now = Clock::now();
    for (std::size_t i = 0; i < later_.size();) {
      if (later_[i]->not_before > now || running_.size() >= kConnections) {
        ++i;
        continue;
      }
      start(later_[i]);
      later_.erase(later_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    while (running_.size() < kConnections) {
      const auto job = next();
      if (job == nullptr) return;
      start(job);
    }
  }

  std::shared_ptr<Job> next() {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return nullptr;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    return job;
  }

  void start(const std::shared_ptr<Job>& job) {
    ++job->attempts;
    add_transfer(job);
  }

  void add_transfer(const std::shared_ptr<Job>& job) {
    ++job->running;
    running_.push_back({job, std::make_unique<Transfer>(job->request, credentials_, options_)});
    curl_multi_add_handle(multi_.get(), running_.back().transfer->handle());
  }

  Running take(CURL* handle) {
    const auto at = std::ranges::find(running_, handle, [](const Running& one) { return one.transfer->handle(); });
    auto one = std::move(*at);
    running_.erase(at);
    curl_multi_remove_handle(multi_.get(), handle);
    --one.job->running;
    return one;
  }

  void finish(CURL* handle, CURLcode code) {
    const auto one = take(handle);
    if (code == CURLE_OK && one.job->request.bytes > 0) waits_.add(one.transfer->longest_wait());
    settle(one.job, one.transfer->judge(code));
  }

  void settle(const std::shared_ptr<Job>& job, Verdict verdict) {
    if (verdict.kind == Verdict::Kind::again && job->running > 0) return;  // the other one may still do it
    if (verdict.kind == Verdict::Kind::again && job->attempts < options_.attempts) {
      job->not_before = Clock::now() + pause_before(job->attempts, verdict.wait_for);
      job->doubled = false;
      later_.push_back(job);
      return;
    }
    while (job->running > 0) {
      const auto other = std::ranges::find(running_, job, &Running::job);
      static_cast<void>(take(other->transfer->handle()));
    }
    if (verdict.kind == Verdict::Kind::done) {
      job->done(&verdict.response, nullptr);
    } else {
      const auto failed = failure_of(*job, verdict);
      job->done(nullptr, &failed);
    }
  }

  Failure failure_of(const Job& job, const Verdict& verdict) const {
    const auto& request = job.request;
    auto what = fmt::format("{} {}", request.head ? "HEAD" : "GET", request.shown);
    if (request.bytes > 0) what += fmt::format(" bytes {}-{}", request.offset, request.offset + request.bytes - 1);
    return {.text = {.what = std::move(what),
                     .why = fmt::format("{}, attempt {} of {}", verdict.why, job.attempts, options_.attempts),
                     .fix = verdict.fix}};
  }

  // Gives up what has stalled, and asks a second time for what hangs for far longer than is usual.
  void watch() {
    const auto now = Clock::now();
    std::vector<CURL*> stalled;
    std::vector<std::shared_ptr<Job>> slow;
    for (const auto& one : running_) {
      if (now - one.transfer->last_byte() > options_.timeout) {
        stalled.push_back(one.transfer->handle());
      } else if (!one.job->doubled && one.job->request.bytes > 0 &&
                 waits_.far_longer(now - one.transfer->last_byte())) {
        slow.push_back(one.job);
      }
    }
    for (CURL* const handle : stalled) {
      // Settling one may have taken its double away.
      const auto is_this = [&](const Running& one) { return one.transfer->handle() == handle; };
      if (std::ranges::none_of(running_, is_this)) continue;
      const auto seconds = static_cast<double>(options_.timeout.count()) / 1e3;
      settle(take(handle).job, failure(Verdict::Kind::again, fmt::format("no byte came for {:.1f} s", seconds),
                                       "check network and server; raise the timeout if they are only slow"));
    }
    for (const auto& job : slow) {
      if (running_.size() >= kConnections + kDoubles || job->running == 0) continue;
      job->doubled = true;
      add_transfer(job);
    }
  }

  // Full jitter, so that ranks which failed together do not come back together.
  Clock::duration pause_before(int attempts, milliseconds asked_for) {
    const auto longest = std::min(kLongestBackoff, kFirstBackoff * (1 << std::min(attempts - 1, 10)));
    random_ += kGoldenGamma;
    const milliseconds pause(mix_bits(random_) % static_cast<std::uint64_t>(longest.count() + 1));
    return std::max(pause, std::min(asked_for, kLongestRetryAfter));
  }

  const Credentials credentials_;
  const RemoteOptions options_;
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<Job>> queue_;  // guarded
  bool stopping_ = false;                   // guarded
  // The thread's own.
  std::vector<Running> running_;
  std::vector<std::shared_ptr<Job>> later_;  // failed, to be begun again
  Waits waits_;
  std::uint64_t random_ = static_cast<std::uint64_t>(::getpid());
  std::thread thread_;
};

Fetcher::Fetcher(Credentials credentials, const RemoteOptions& options)
    : loop_(std::make_unique<Loop>(std::move(credentials), options)) {}

Fetcher::~Fetcher() = default;

std::shared_ptr<Fetcher::Job> Fetcher::submit(Request request, Done done, bool urgent) {
  auto job = std::make_shared<Job>();
  job->request = std::move(request);
  job->done = std::move(done);
  loop_->push(job, urgent);
  return job;
}

void Fetcher::hurry(const std::shared_ptr<Job>& job) { loop_->hurry(job); }

std::size_t Fetcher::waiting() const { return loop_->waiting(); }

Response Fetcher::fetch(Request request) {
  std::promise<std::variant<Response, Failure>> promise;
  auto answer = promise.get_future();
  const auto done = [&promise](Response* response, const Failure* failed) {
    response != nullptr ? promise.set_value(std::move(*response)) : promise.set_value(*failed);
  };
  static_cast<void>(submit(std::move(request), done, true));
  auto outcome = answer.get();
  if (const auto* const failed = std::get_if<Failure>(&outcome)) failed->raise();
  return std::get<Response>(std::move(outcome));
}

}  // namespace lockstep::remote
