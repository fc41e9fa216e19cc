// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// One field of the samples as delivered.
struct FieldInfo {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape{};  // of one sample; −1 first: ragged, the length differs from sample to sample

  [[nodiscard]] bool ragged() const noexcept { return !shape.empty() && shape.front() < 0; }
  [[nodiscard]] std::size_t row_bytes() const noexcept;  // of the whole sample; ragged: of one row
  friend bool operator==(const FieldInfo&, const FieldInfo&) = default;
};

// Which sample is read, and for which pass over its source: all that may decide about augmentation.
struct SampleKey {
  std::uint64_t seed = 0;
  std::int64_t pass = 0;  // how often the source was gone through before
  std::int64_t sample = 0;
};

// Random numbers that depend on a sample's key alone, never on threads, ranks or other samples: Philox 4x32-10
// (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by the seed, counting (pass, sample,
// n).
class SampleRandom {
 public:
  explicit SampleRandom(const SampleKey& key) noexcept;
  [[nodiscard]] std::uint32_t bits() noexcept;                      // 32 random bits
  [[nodiscard]] double uniform() noexcept;                          // [0, 1), 53 bits
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) noexcept;  // 0 … bound−1, without bias; bound > 0
  [[nodiscard]] double normal() noexcept;                           // mean 0, variance 1 (Box–Muller)

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

// Where one sample of a batch goes. Fields by their place in Dataset::fields().
class SampleSlot {
 public:
  // The rows of a ragged field, sample after sample.
  struct Rows {
    std::size_t row_bytes = 0;
    std::vector<std::byte> bytes{};
    std::vector<std::int64_t> ends{};  // of each sample: one past its last row
  };

  SampleSlot(std::vector<std::span<std::byte>> fixed, std::vector<Rows*> ragged) noexcept;

  // The whole place of a field that is not ragged: contiguous, row-major, row_bytes() of its FieldInfo.
  [[nodiscard]] std::span<std::byte> fixed(std::size_t field) noexcept { return fixed_[field]; }
  // A new place for `rows` rows of a ragged field; to be asked for once a sample. Valid until the next call.
  [[nodiscard]] std::span<std::byte> ragged(std::size_t field, std::int64_t rows);

  // For the loader: the next sample's place, the end of a sample, and a sample that is taken back.
  void move_to(std::size_t field, std::span<std::byte> place) noexcept { fixed_[field] = place; }
  void end_sample();
  void undo_sample();

 private:
  std::vector<std::span<std::byte>> fixed_;  // empty where the field is ragged
  std::vector<Rows*> ragged_;                // null where it is not
};

}  // namespace lockstep
