// SPDX-License-Identifier: Apache-2.0
#include "pulse.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <type_traits>

namespace lockstep::comm::gpu {

struct Pulse::Record {
  static constexpr std::size_t kMostCalls = 32;
  std::array<Call, kMostCalls> calls{};
  std::size_t number_of_calls = 0;
  Standing standing{};
  bool more = false;     // than these calls: the next round begins at once
  bool leaving = false;  // these calls were the last
};

struct Pulse::Round {
  Record own{};
  std::vector<Record> of_all{};  // by rank
  OperationPtr operation{};      // last: it uses the rest
};

Pulse::Pulse(std::unique_ptr<Backend> host) : host_(std::move(host)) {
  const auto ranks = static_cast<std::size_t>(host_->world_size());
  standings_.resize(ranks);
  compared_.resize(ranks);
}

Pulse::~Pulse() {
  if (!round_) return;
  // Peers may read our record for as long as they live; waiting for them here could last for ever.
  static_cast<void>(round_.release());
  static_cast<void>(host_.release());
}

void Pulse::note(const Call& call) {
  const std::lock_guard lock(mutex_);
  unsent_.push_back(call);
  if (!is_between_two(call.kind)) ++own_.called;
}

void Pulse::completed(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  own_.completed = std::max(own_.completed, number);
}

void Pulse::say_goodbye() {
  const std::lock_guard lock(mutex_);
  leaving_ = true;
}

bool Pulse::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

std::vector<Standing> Pulse::standings() const {
  const std::lock_guard lock(mutex_);
  return standings_;
}

bool Pulse::hurries() const {
  const std::lock_guard lock(mutex_);
  return !over_ && !finished_ && (backlog_ || leaving_);
}

std::optional<Failure> Pulse::advance(std::chrono::nanoseconds waited) {
  since_begun_ += waited;
  while (!over_) {
    if (!round_) {
      if (finished() || (since_begun_ < kPeriod && !hurries())) return std::nullopt;
      begin_round();
    }
    if (!move_round(waited)) return std::nullopt;
    if (auto failure = end_round()) {
      over_ = true;
      return failure;
    }
  }
  return std::nullopt;
}

void Pulse::fail(const Failure& failure) noexcept {
  over_ = true;
  host_->fail(failure);
}

void Pulse::begin_round() {
  auto round = std::make_unique<Round>();
  Record& own = round->own;
  {
    const std::lock_guard lock(mutex_);
    own.number_of_calls = std::min(unsent_.size(), Record::kMostCalls);
    const auto sent = unsent_.begin() + static_cast<std::ptrdiff_t>(own.number_of_calls);
    std::copy(unsent_.begin(), sent, own.calls.begin());
    unsent_.erase(unsent_.begin(), sent);
    own.standing = own_;
    own.more = !unsent_.empty();
    own.leaving = leaving_ && unsent_.empty();
  }
  static_assert(std::is_trivially_copyable_v<Record>);
  round->of_all.resize(standings_.size());
  Request request;
  request.call = {.kind = Kind::all_gather,
                  .dtype = DType::uint8,
                  .elements = static_cast<std::int64_t>(sizeof(Record)),
                  .sequence = rounds_++};
  request.input = reinterpret_cast<const std::byte*>(&round->own);
  request.output = reinterpret_cast<std::byte*>(round->of_all.data());
  round->operation = host_->start(request);
  round_ = std::move(round);
  since_begun_ = looked_at_peers_ = {};
}

// Whether the round has ended.
bool Pulse::move_round(std::chrono::nanoseconds waited) {
  Advanced advanced = Advanced::partly;
  while (advanced == Advanced::partly)
    advanced = round_->operation->advance(std::chrono::steady_clock::time_point::max());
  if (advanced == Advanced::fully) return true;
  looked_at_peers_ += waited;
  if (looked_at_peers_ >= kPeriod) {  // idle() pauses, which the thread that calls collectives should not do often
    looked_at_peers_ = {};
    host_->idle(since_begun_);
  }
  return false;
}

std::optional<Failure> Pulse::end_round() {
  const std::vector<Record> records = std::move(round_->of_all);
  round_.reset();
  auto failure = compare(records);
  if (!failure) failure = find_uncalled(records);
  backlog_ = std::any_of(records.begin(), records.end(), [](const Record& record) { return record.more; });
  const bool all_leave = std::all_of(records.begin(), records.end(), [](const Record& each) { return each.leaving; });
  const std::lock_guard lock(mutex_);
  std::transform(records.begin(), records.end(), standings_.begin(), [](const Record& each) { return each.standing; });
  finished_ = all_leave && !failure;
  return failure;
}

// All ranks have the same records in the same rounds, and so come to the same result.
std::optional<Failure> Pulse::compare(const std::vector<Record>& records) {
  for (std::size_t rank = 0; rank < records.size(); ++rank) {
    const std::span calls(records[rank].calls.data(), records[rank].number_of_calls);
    for (const Call& call : calls) {
      const bool message = is_between_two(call.kind);
      auto failure = message ? compare_message(static_cast<int>(rank), call) : compare(static_cast<int>(rank), call);
      if (failure) return failure;
    }
  }
  const std::uint64_t by_all = *std::min_element(compared_.begin(), compared_.end());
  first_calls_.erase(first_calls_.begin(), first_calls_.begin() + static_cast<std::ptrdiff_t>(by_all - called_by_all_));
  called_by_all_ = by_all;
  return std::nullopt;
}

std::optional<Failure> Pulse::compare(int rank, const Call& call) {
  const std::uint64_t ahead = compared_[static_cast<std::size_t>(rank)]++ - called_by_all_;
  if (ahead == first_calls_.size()) {
    first_calls_.push_back({call, rank});
    return std::nullopt;
  }
  const Noted& first = first_calls_[ahead];
  if (first.call == call) return std::nullopt;
  return first.rank < rank ? mismatch(first.rank, first.call, rank, call)
                           : mismatch(rank, call, first.rank, first.call);
}

std::optional<Failure> Pulse::compare_message(int rank, const Call& call) {
  const bool sends = call.kind == Kind::send;
  const std::pair pair = sends ? std::pair(rank, call.root) : std::pair(call.root, rank);
  std::deque<Noted>& unmet = unmet_messages_[pair];
  if (unmet.empty() || unmet.front().call.kind == call.kind) {
    unmet.push_back({call, rank});
    return std::nullopt;
  }
  const Noted other = unmet.front();
  unmet.pop_front();
  if (other.call.dtype == call.dtype && other.call.elements == call.elements) return std::nullopt;
  return sends ? mismatch(rank, call, other.rank, other.call) : mismatch(other.rank, other.call, rank, call);
}

// A rank that has called its last and less than others leaves them waiting for ever.
std::optional<Failure> Pulse::find_uncalled(const std::vector<Record>& records) const {
  for (std::size_t rank = 0; rank < records.size(); ++rank) {
    const std::uint64_t called = compared_[rank] - called_by_all_;
    if (!records[rank].leaving || called == first_calls_.size()) continue;
    const Noted& missed = first_calls_[called];
    return Failure{
        .kind = FailureKind::mismatch,
        .why = fmt::format("rank {} called {}, and rank {} has closed its communicator without calling it", missed.rank,
                           to_string(missed.call), rank),
        .fix = "look for a branch that only some ranks take: all must call the same collectives in one order",
        .culprit = static_cast<int>(rank)};
  }
  return std::nullopt;
}

}  // namespace lockstep::comm::gpu
