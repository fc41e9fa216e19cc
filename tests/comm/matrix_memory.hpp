// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>

#include "comm/matrix.hpp"
#include "comm/oracle.hpp"

namespace lockstep::testing {

inline constexpr std::size_t kMargin = 64;
inline constexpr std::size_t kWorkspace = 8 * (kLargestSize + 64) + 4 * kMargin;  // parts are rounded up

// Memory of a rank: ordinary and from allocate(), for inputs and for outputs.
class Workspace {
 public:
  explicit Workspace(Communicator& world) {
    for (auto& memory : ordinary_) memory.resize(kWorkspace + 64);
    for (auto& memory : allocated_) memory = world.allocate(kWorkspace);
  }
  [[nodiscard]] std::byte* get(const MatrixCell& cell, bool output) {
    const std::size_t index = output ? 1 : 0;
    if (cell.allocated) return allocated_[index].get();
    void* aligned = ordinary_[index].data();
    std::size_t room = ordinary_[index].size();
    return static_cast<std::byte*>(std::align(64, kWorkspace, aligned, room));
  }

 private:
  std::array<Bytes, 2> ordinary_;
  std::array<std::shared_ptr<std::byte>, 2> allocated_;
};

// A call's memory with margins around it, and what must be there after the call.
class Field {
 public:
  Field(Workspace& workspace, const MatrixCell& cell, bool output, std::int64_t elements)
      : memory_(workspace.get(cell, output)),
        size_(size_of(cell.dtype)),
        start_(kMargin + (cell.aligned ? 0 : size_)),
        expected_(start_ + static_cast<std::size_t>(elements) * size_ + kMargin, std::byte{0xa5}) {
    std::copy(expected_.begin(), expected_.end(), memory_);
  }
  void fill(const Bytes& values) {  // as many as there is room for
    const std::size_t bytes = std::min(values.size(), expected_.size() - kMargin - start_);
    std::copy_n(values.data(), bytes, memory_ + start_);
    std::copy_n(values.data(), bytes, expected_.data() + start_);
  }
  void expect(std::int64_t first, const std::byte* values, std::int64_t elements) {
    std::copy_n(values, static_cast<std::size_t>(elements) * size_,
                expected_.data() + start_ + static_cast<std::size_t>(first) * size_);
  }
  void check(const MatrixCell& cell, const char* what) const {
    const auto differs = std::mismatch(expected_.begin(), expected_.end(), memory_).first - expected_.begin();
    if (differs == static_cast<std::ptrdiff_t>(expected_.size())) return;
    const auto byte = static_cast<std::size_t>(differs);
    ADD_FAILURE() << to_string(cell) << ": " << what << " differs at byte "
                  << differs - static_cast<std::ptrdiff_t>(start_) << ": " << std::hex
                  << static_cast<int>(memory_[byte]) << " instead of " << static_cast<int>(expected_[byte]);
  }
  [[nodiscard]] std::byte* at(std::int64_t element) const {
    return memory_ + start_ + static_cast<std::size_t>(element) * size_;
  }

 private:
  std::byte* memory_;
  std::size_t size_;
  std::size_t start_;
  Bytes expected_;
};

}  // namespace lockstep::testing
