// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/sample.hpp"

#include <cmath>
#include <numbers>
#include <utility>

#include "loader/philox.hpp"

namespace lockstep {

std::size_t FieldInfo::row_bytes() const noexcept {
  std::size_t elements = 1;
  for (std::size_t i = ragged() ? 1 : 0; i < shape.size(); ++i) elements *= static_cast<std::size_t>(shape[i]);
  return elements * size_of(dtype);
}

// The counter: n in word 0, the pass in word 1 (2³² passes), the sample in words 2 and 3.
SampleRandom::SampleRandom(const SampleKey& key) noexcept
    : key_{static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)},
      counter_{0, static_cast<std::uint32_t>(key.pass), static_cast<std::uint32_t>(key.sample),
               static_cast<std::uint32_t>(static_cast<std::uint64_t>(key.sample) >> 32)} {}

std::uint32_t SampleRandom::bits() noexcept {
  if (used_ == 4) {
    block_ = philox(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[static_cast<std::size_t>(used_++)];
}

double SampleRandom::uniform() noexcept {
  const std::uint64_t high = bits();
  return static_cast<double>((high << 32 | bits()) >> 11) * 0x1p-53;
}

std::uint64_t SampleRandom::below(std::uint64_t bound) noexcept {
  const std::uint64_t rest = (0 - bound) % bound;  // 2⁶⁴ mod bound: as many of the 2⁶⁴ values are one too many
  for (;;) {
    const std::uint64_t high = bits();
    const std::uint64_t value = high << 32 | bits();
    if (value >= rest) return value % bound;
  }
}

double SampleRandom::normal() noexcept {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

SampleSlot::SampleSlot(std::vector<std::span<std::byte>> fixed, std::vector<Rows*> ragged) noexcept
    : fixed_(std::move(fixed)), ragged_(std::move(ragged)) {}

std::span<std::byte> SampleSlot::ragged(std::size_t field, std::int64_t rows) {
  Rows& all = *ragged_[field];
  const std::size_t before = all.bytes.size();
  all.bytes.resize(before + static_cast<std::size_t>(rows) * all.row_bytes);
  return std::span(all.bytes).subspan(before);
}

void SampleSlot::end_sample() {
  for (Rows* rows : ragged_) {
    if (rows != nullptr) rows->ends.push_back(static_cast<std::int64_t>(rows->bytes.size() / rows->row_bytes));
  }
}

void SampleSlot::undo_sample() {
  for (Rows* rows : ragged_) {
    if (rows != nullptr) {
      rows->bytes.resize(rows->ends.empty() ? 0 : static_cast<std::size_t>(rows->ends.back()) * rows->row_bytes);
    }
  }
}

}  // namespace lockstep
