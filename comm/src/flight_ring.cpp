// SPDX-License-Identifier: Apache-2.0
#include "flight_ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <optional>

namespace lockstep::flight {
namespace {

using Word = std::atomic<std::uint64_t>;
using CallWords = std::array<std::uint64_t, sizeof(comm::Call) / sizeof(std::uint64_t)>;
static_assert(std::has_unique_object_representations_v<CallWords> && Word::is_always_lock_free);

// A sequence lock: who writes makes `version` odd first, whoever finds it odd keeps away. All fields are stored with
// release and loaded with acquire, which keeps them in order without fences (those, thread sanitizers do not know) and
// costs nothing on x86.
struct alignas(64) Slot {
  Word version{0};  // 2 × ticket; + 1 while it is being written
  Word origin{0};   // communicator << 32 | thread
  std::array<Word, CallWords{}.size()> call{};
  Word started{0}, moved{0}, ended{0};
  Word label_bytes{0};
  std::array<Word, kLabelBytes / sizeof(std::uint64_t)> label{};
};
static_assert(sizeof(Slot) == 192);

constinit std::array<Slot, kEntries> slots{};
constinit Word last_ticket{0};
constinit std::atomic<bool> is_enabled{true};

Slot& slot_of(std::uint64_t ticket) noexcept { return slots[ticket % kEntries]; }

void store(Word& word, std::uint64_t value) noexcept { word.store(value, std::memory_order_release); }
std::uint64_t load(const Word& word) noexcept { return word.load(std::memory_order_acquire); }

std::uint64_t word_of(TimePoint time) noexcept { return static_cast<std::uint64_t>(time.time_since_epoch().count()); }
TimePoint time_of(std::uint64_t word) noexcept {
  return TimePoint(TimePoint::duration(static_cast<TimePoint::rep>(word)));
}

std::uint32_t this_thread() noexcept {
  static thread_local const auto id = static_cast<std::uint32_t>(gettid());
  return id;
}

// The next entry, locked. One whose writer was stopped in the middle is passed over.
std::uint64_t claim() noexcept {
  while (true) {
    const std::uint64_t ticket = last_ticket.fetch_add(1, std::memory_order_relaxed) + 1;
    const Slot& next = slot_of(ticket + 1);
    __builtin_prefetch(&next.version, 1);
    __builtin_prefetch(&next.started, 1);
    Word& version = slot_of(ticket).version;
    std::uint64_t seen = version.load(std::memory_order_relaxed);
    const bool free = seen % 2 == 0 && seen < 2 * ticket;
    if (free && version.compare_exchange_strong(seen, 2 * ticket + 1, std::memory_order_acq_rel)) return ticket;
  }
}

void store_label(Slot& slot, std::string_view label) noexcept {
  label = label.substr(0, kLabelBytes);
  store(slot.label_bytes, label.size());
  for (std::size_t word = 0; word * sizeof(std::uint64_t) < label.size(); ++word) {
    const std::string_view rest = label.substr(word * sizeof(std::uint64_t), sizeof(std::uint64_t));
    std::uint64_t value = 0;
    std::memcpy(&value, rest.data(), rest.size());
    store(slot.label[word], value);
  }
}

std::string load_label(const Slot& slot) {
  std::array<char, kLabelBytes> text;
  for (std::size_t word = 0; word < slot.label.size(); ++word) {
    const std::uint64_t value = load(slot.label[word]);
    std::memcpy(text.data() + word * sizeof value, &value, sizeof value);
  }
  return {text.data(), std::min<std::size_t>(load(slot.label_bytes), kLabelBytes)};
}

// None: the slot is empty, or changed meanwhile.
std::optional<Entry> try_read(const Slot& slot) {
  const std::uint64_t version = load(slot.version);
  if (version == 0 || version % 2 == 1) return std::nullopt;
  const std::uint64_t origin = load(slot.origin);
  CallWords call;
  for (std::size_t word = 0; word < call.size(); ++word) call[word] = load(slot.call[word]);
  Entry entry{.ticket = version / 2,
              .communicator = static_cast<std::uint32_t>(origin >> 32U),
              .thread = static_cast<std::uint32_t>(origin),
              .call = std::bit_cast<comm::Call>(call),
              .label = load_label(slot),
              .started = time_of(load(slot.started)),
              .moved = time_of(load(slot.moved)),
              .ended = time_of(load(slot.ended))};
  if (load(slot.version) != version) return std::nullopt;
  return entry;
}

}  // namespace

Mark record(std::uint32_t communicator, const comm::Call& call, std::string_view label, TimePoint started) noexcept {
  if (!is_enabled.load(std::memory_order_relaxed)) return {};
  const std::uint64_t ticket = claim();
  Slot& slot = slot_of(ticket);
  store(slot.origin, std::uint64_t{communicator} << 32U | this_thread());
  const auto words = std::bit_cast<CallWords>(call);
  for (std::size_t word = 0; word < words.size(); ++word) store(slot.call[word], words[word]);
  store(slot.started, word_of(started));
  store(slot.moved, 0);
  store(slot.ended, 0);
  store_label(slot, label);
  store(slot.version, 2 * ticket);
  return Mark(ticket);
}

void Mark::write(TimePoint now, bool ended) noexcept {
  Slot& slot = slot_of(ticket_);
  std::uint64_t seen = 2 * ticket_;
  if (slot.version.compare_exchange_strong(seen, 2 * ticket_ + 1, std::memory_order_acq_rel)) {
    if (!moved_) store(slot.moved, word_of(now));
    if (ended) store(slot.ended, word_of(now));
    store(slot.version, 2 * ticket_);
  }
  moved_ = true;
}

std::vector<Entry> snapshot() {
  constexpr int kTries = 100;
  std::vector<Entry> entries;
  for (const Slot& slot : slots) {
    std::optional<Entry> entry;
    for (int tries = 0; !entry && load(slot.version) != 0 && tries < kTries; ++tries) entry = try_read(slot);
    if (entry) entries.push_back(*std::move(entry));
  }
  std::ranges::sort(entries, {}, &Entry::ticket);
  return entries;
}

std::uint64_t recorded() noexcept { return last_ticket.load(std::memory_order_relaxed); }

void set_enabled(bool enabled) noexcept { is_enabled.store(enabled, std::memory_order_relaxed); }

}  // namespace lockstep::flight
