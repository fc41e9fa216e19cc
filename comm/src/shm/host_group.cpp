// SPDX-License-Identifier: Apache-2.0
#include "host_group.hpp"

#include <fmt/format.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#include <utility>

namespace lockstep::comm::shm {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr auto kSpin = microseconds(50);  // a peer that runs is nearly always there by then
constexpr auto kYield = microseconds(500);
constexpr auto kLongestSleep = microseconds(1000);  // also how late the death of a peer may be seen

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
      arena_(std::move(arena)),
      mappings_(std::move(mappings)),
      watch_(std::move(watch)),
      oversubscribed_(world_size() > cpus) {}

std::atomic<std::uint32_t>& HostGroup::claims() const noexcept { return mappings_.front()->doorbell().claims; }

void HostGroup::wake_peers() noexcept {
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank_) continue;
    Doorbell& bell = mappings_[static_cast<std::size_t>(peer)]->doorbell();
    // Where ranks have a CPU each, a peer that just falls asleep may be missed: it looks again within kLongestSleep.
    // Where they have not, every store is announced, so that a sleeper never waits in vain.
    if (oversubscribed_) {
      bell.rung.fetch_add(1, std::memory_order_seq_cst);
      if (bell.sleeping.load(std::memory_order_seq_cst) != 0) futex(bell.rung, FUTEX_WAKE, INT_MAX, nullptr);
    } else if (bell.sleeping.load(std::memory_order_relaxed) != 0) {
      bell.rung.fetch_add(1, std::memory_order_relaxed);
      futex(bell.rung, FUTEX_WAKE, INT_MAX, nullptr);
    }
  }
}

void HostGroup::sleep(microseconds at_most) {
  Doorbell& bell = arena_->mapping().doorbell();
  const std::uint32_t rung = bell.rung.load(std::memory_order_seq_cst);
  if (rung == seen_rings_) {
    bell.sleeping.store(1, std::memory_order_seq_cst);
    const timespec timeout{0, at_most.count() * 1000};
    futex(bell.rung, FUTEX_WAIT, rung, &timeout);
    bell.sleeping.store(0, std::memory_order_relaxed);
  }
  seen_rings_ = bell.rung.load(std::memory_order_seq_cst);
}

void HostGroup::throw_if_peer_died() {
  const auto now = std::chrono::steady_clock::now();
  if (!watch_ || now - last_watch_ < milliseconds(1)) return;
  last_watch_ = now;
  const auto dead = watch_->dead_rank();
  // What it published before its end counts: the caller looks once more. (The others are gone as soon as a last barrier
  // is done there, which may not be seen here yet.)
  if (!dead || !std::exchange(seen_dead_, true)) return;
  // One that left because of another's death says so: follow to the first.
  int culprit = *dead;
  for (int hops = 0; hops < world_size(); ++hops) {
    const int blamed = mappings_[static_cast<std::size_t>(culprit)]->doorbell().blames.load(std::memory_order_acquire);
    if (blamed < 0) break;
    culprit = blamed;
  }
  throw BackendFailure{peer_died(culprit, peers_[static_cast<std::size_t>(culprit)])};
}

void HostGroup::blame(int culprit) noexcept {
  if (culprit >= 0) arena_->mapping().doorbell().blames.store(culprit, std::memory_order_release);
}

void HostGroup::idle(std::chrono::nanoseconds waited) {
  if (oversubscribed_) {
    sleep(kLongestSleep);
  } else if (waited < kSpin) {
    _mm_pause();
    return;
  } else if (waited < kYield) {
    sched_yield();
  } else {
    sleep(kLongestSleep);
  }
  throw_if_peer_died();
}

}  // namespace lockstep::comm::shm
