// SPDX-License-Identifier: Apache-2.0
#include "host_group.hpp"

#include <fmt/format.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>
#include <numeric>

#include "../number_nodes.hpp"

namespace lockstep::comm::shm {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr auto kSpin = microseconds(50);  // a peer that runs is nearly always there by then
constexpr auto kYield = microseconds(500);
constexpr auto kSleep = milliseconds(1);
constexpr auto kLongWait = milliseconds(100);    // from here on a millisecond more does not matter, but CPU time does
constexpr auto kLongestSleep = milliseconds(5);  // also how late the death of a peer may be seen

static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4);

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, &word, operation, value, timeout, nullptr,
                 0);  // shared, not FUTEX_PRIVATE: other processes
}

}  // namespace

HostGroup::HostGroup(int rank, std::vector<Peer> peers, std::shared_ptr<Arena> arena,
                     std::vector<std::shared_ptr<Mapping>> mappings, std::unique_ptr<PeerWatch> watch, int cpus)
    : rank_(rank),
      peers_(std::move(peers)),
      numbers_(peers_.size()),
      arena_(std::move(arena)),
      mappings_(std::move(mappings)),
      watch_(std::move(watch)),
      oversubscribed_(world_size() > cpus) {
  std::iota(numbers_.begin(), numbers_.end(), 0);
}

std::shared_ptr<HostGroup> HostGroup::part(const std::vector<int>& members) const {
  std::vector<Peer> peers;
  std::vector<int> numbers;
  std::vector<std::shared_ptr<Mapping>> mappings;
  for (const int member : members) {
    const auto m = static_cast<std::size_t>(member);
    peers.push_back(peers_[m]);
    numbers.push_back(numbers_[m]);
    mappings.push_back(mappings_[m]);
  }
  number_nodes(peers);
  const auto place = std::find(members.begin(), members.end(), rank_) - members.begin();
  auto group = std::make_shared<HostGroup>(static_cast<int>(place), std::move(peers), arena_, std::move(mappings),
                                           watch_ ? std::make_unique<PeerWatch>(watch_->part(members)) : nullptr, 0);
  group->numbers_ = std::move(numbers);
  group->oversubscribed_ = oversubscribed_;
  return group;
}

void HostGroup::wake_peers() noexcept {
  announce();
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer != rank_) ring(peer);
  }
}

void HostGroup::wake(int peer) noexcept {
  announce();
  ring(peer);
}

// A peer that is about to sleep looks once more after it has said so (arm). Where ranks share CPUs nobody may be
// missed; where they have one each the fence is not worth it: a peer looks again after kSleep.
void HostGroup::announce() noexcept {
  if (armed_) disarm();
  if (oversubscribed_) std::atomic_thread_fence(std::memory_order_seq_cst);
}

void HostGroup::ring(int peer) noexcept {
  Doorbell& bell = mappings_[static_cast<std::size_t>(peer)]->doorbell();
  if (bell.sleeping.load(std::memory_order_relaxed) != 0) {
    bell.rung.fetch_add(1, std::memory_order_relaxed);
    futex(bell.rung, FUTEX_WAKE, INT_MAX, nullptr);
  }
}

void HostGroup::arm() noexcept {
  Doorbell& bell = arena_->mapping().doorbell();
  seen_rings_ = bell.rung.load(std::memory_order_relaxed);
  bell.sleeping.store(1, std::memory_order_seq_cst);
  armed_ = true;
}

void HostGroup::disarm() noexcept {
  arena_->mapping().doorbell().sleeping.store(0, std::memory_order_relaxed);
  armed_ = false;
}

void HostGroup::sleep(std::chrono::nanoseconds at_most) noexcept {
  Doorbell& bell = arena_->mapping().doorbell();
  const bool announced = armed_ && bell.sleeping.load(std::memory_order_relaxed) != 0;  // or another group of ours woke
  if (!announced) return arm();
  const timespec timeout{0, at_most.count()};
  futex(bell.rung, FUTEX_WAIT, seen_rings_, &timeout);
  disarm();
}

void HostGroup::throw_if_peer_died() {
  const auto now = std::chrono::steady_clock::now();
  if (!watch_ || now - last_watch_ < milliseconds(1)) return;
  last_watch_ = now;
  const auto dead = watch_->dead_rank();
  if (!dead) return;
  // What it published before its end counts: the caller looks once more. (The others are gone as soon as a last barrier
  // is done there, which may not be seen here yet.)
  if (!death_seen_) {
    death_seen_ = true;
    return;
  }
  // One that left because of another's death says so: follow to the first that belongs to us.
  int culprit = *dead;
  for (int hops = 0; hops < world_size(); ++hops) {
    const int blamed = mappings_[static_cast<std::size_t>(culprit)]->doorbell().blames.load(std::memory_order_acquire);
    const auto found = std::find(numbers_.begin(), numbers_.end(), blamed);
    if (found == numbers_.end()) break;
    culprit = static_cast<int>(found - numbers_.begin());
  }
  throw BackendFailure{peer_died(culprit, peers_[static_cast<std::size_t>(culprit)])};
}

void HostGroup::blame(int culprit) noexcept {
  if (culprit < 0) return;
  arena_->mapping().doorbell().blames.store(numbers_[static_cast<std::size_t>(culprit)], std::memory_order_release);
}

void HostGroup::forget_blame() noexcept { arena_->mapping().doorbell().blames.store(-1, std::memory_order_release); }

void HostGroup::doze() { sleep(kSleep); }

std::vector<int> HostGroup::dead_ranks() const { return watch_ ? watch_->dead_ranks() : std::vector<int>{}; }

void HostGroup::idle(std::chrono::nanoseconds waited) {
  if (waited < kSpin && !oversubscribed_) {
    _mm_pause();
    return;
  }
  if (waited < kYield) {
    sched_yield();
    if (waited < kSpin) return;  // what follows costs more than the wait
  } else {
    sleep(waited < kLongWait ? kSleep : kLongestSleep);
  }
  throw_if_peer_died();
}

}  // namespace lockstep::comm::shm
