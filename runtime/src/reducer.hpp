// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bucket_plan.hpp"
#include "buffer_mean.hpp"
#include "lockstep/comm/gpu.hpp"
#include "lockstep/runtime/ddp.hpp"
#include "participant.hpp"
#include "tree_accumulator.hpp"

namespace lockstep {

// Life of a step, per bucket: every backward of an owned micro-batch writes its gradients into the bucket's open leaf;
// the end of the micro-batch closes the leaf, which merges finished subtrees. In the rank's last micro-batch a bucket
// closes as soon as its last gradient is there and is launched, in plan order on every rank, while backward goes on.
class GradientReducer::Impl final : public StepParticipant {
 public:
  Impl(Runtime& runtime, std::shared_ptr<torch::nn::Module> module);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() override;

  void begin_step(const StepPlan& plan) override;
  void begin_micro_batch(int k, std::int64_t samples, bool last_of_rank) override;
  void end_micro_batch() override;
  void reduce_now() override;
  void replayed() override;
  bool finish() override;
  void synchronize();

 private:
  struct Parameter {
    std::string name;
    at::Tensor tensor;
    std::size_t bucket = 0;
    std::size_t place = 0;                               // in the bucket's layout
    bool used = false;                                   // by some micro-batch of this rank in this step
    bool in_leaf = false;                                // its gradient of the present micro-batch is in the open leaf
    std::shared_ptr<torch::autograd::Node> accumulator;  // autograd holds it weakly
    std::uintptr_t hook = 0;
  };
  struct Bucket {
    BucketLayout layout;
    std::shared_ptr<TreeAccumulator> sums;  // also kept alive by its work
    std::size_t pending = 0;                // gradients that the open leaf still lacks
    bool leaf_open = false;
    std::optional<Work> work;  // set: launched
    std::string label;         // for errors
  };

  void copy_from_rank_0();
  void make_buckets();
  void add_hooks();
  void on_gradient(std::size_t index);
  void begin_implicit_step(const at::Tensor& gradient, const Parameter& parameter);
  void start_own_micro_batch();
  void finish_own_micro_batch();
  void write_leaf(Parameter& parameter, const at::Tensor& gradient);
  void close_leaf(Bucket& bucket);
  void launch_ready();
  void launch(Bucket& bucket);
  void start_step(const StepPlan& plan);
  void drop_zero_gradients();
  void refuse_stale(const Parameter& parameter) const;
  [[nodiscard]] bool may_call_here(Communicator& comm) const;
  void wait_for_buckets();
  void refuse_other_flags() const;
  [[nodiscard]] Work share_flags();
  [[nodiscard]] std::vector<std::uint8_t> own_flags() const;
  void publish();
  [[nodiscard]] Communicator& host() noexcept { return beside_ ? *beside_ : *comm_; }
  [[nodiscard]] at::Tensor view(const Bucket& bucket, std::size_t place, const at::Tensor& memory) const;

  Runtime& runtime_;
  std::shared_ptr<torch::nn::Module> module_;
  at::Device device_;                   // of all its tensors
  std::shared_ptr<Communicator> comm_;  // for memory on that device
  const Gpu* gpu_ = nullptr;            // that device, if it is a GPU
  std::optional<Communicator> beside_;  // then, for memory of the host
  std::thread::id thread_;              // the rank's own: over MPI the only one that may communicate
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  std::vector<std::uint8_t> flags_;  // of the step: parameters used, and behind them stop requested
  BufferMean buffers_;
  StepPlan plan_;
  double leaf_weight_ = 1.0;
  bool last_micro_batch_ = false;
  bool in_step_ = false;
  bool reduced_ = false;  // by reduce_now()
  std::vector<std::uint8_t> flags_of_record_;
  std::size_t next_launch_ = 0;
};

}  // namespace lockstep
