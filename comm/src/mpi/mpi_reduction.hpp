// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "mpi_call.hpp"

namespace lockstep::comm::mpi {

// all_reduce, reduce_scatter and reduce. Each rank gets its slice of all partial sums, adds them up, and sends the
// result to those who want it. What fits into headers goes whole to everybody who wants the result: then there is one
// message less to wait for.
class MpiReduction final : public MpiCall {
 public:
  MpiReduction(Endpoint& endpoint, const Request& request);
  ~MpiReduction() override { endpoint_.pool.give_back(std::move(staging_)); }

 private:
  [[nodiscard]] Advanced finish_until(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] bool is(Kind kind) const noexcept { return request_.call.kind == kind; }
  [[nodiscard]] bool gets_result(int rank) const noexcept { return !is(Kind::reduce) || rank == request_.call.root; }
  void plan_slices();
  void plan_inputs();
  void reduce_until(std::chrono::steady_clock::time_point slice_end);
  void start_results();

  const TreePlan* plan_ = nullptr;
  std::vector<Partial> partials_;
  std::vector<Range> slices_;   // by rank: the elements that it adds up
  bool results_travel_ = true;  // whether what a rank adds up is also for others
  std::vector<std::byte> staging_;
  std::vector<const std::byte*> inputs_;  // all partial sums at our slice, by rank
  std::byte* result_ = nullptr;           // of our slice
  std::int64_t reduced_ = 0;              // elements of our slice that are done
  bool results_started_ = false;
};

}  // namespace lockstep::comm::mpi
