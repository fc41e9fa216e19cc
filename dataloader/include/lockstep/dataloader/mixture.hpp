// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

// Which source gives the next sample, so that after every n samples source i gave w_i·n/W of them, less than one off:
// |count_i − w_i·n/W| ≤ 1 − 1/(2k−2) for k sources, at every n. Of the sources that are due (at least 1/(2k−2) behind),
// the one that would be too late first gives (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32,
// 1980). In whole numbers, O(k) a sample; a pure function of (weights, n), and its state is the counts.
class Mixture {
 public:
  // Weights from 1 on, together at most 2⁴⁸; at most 1,024 of them. Throws UsageError.
  explicit Mixture(std::vector<std::int64_t> weights);

  [[nodiscard]] std::size_t next() noexcept;  // 0 … k−1

  // How many each source gave.
  [[nodiscard]] const std::vector<std::int64_t>& counts() const noexcept { return counts_; }
  // Goes to where the sources had given `counts`. Throws UsageError if they are not the counts of any n.
  void resume(std::span<const std::int64_t> counts);

 private:
  std::vector<std::int64_t> weights_;
  std::vector<std::int64_t> counts_;
  std::vector<std::int64_t> behind_;  // n·w_i − count_i·W
  std::int64_t total_ = 0;            // W
};

// Local. Whole weights that stand to each other as `shares` do, to one part in 2³². Throws UsageError for a share that
// is not a finite number above 0.
[[nodiscard]] std::vector<std::int64_t> whole_weights(std::span<const double> shares);

}  // namespace lockstep
