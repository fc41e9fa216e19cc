// SPDX-License-Identifier: Apache-2.0
// The end of a reducer's step.
#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.hpp"
#include "reducer.hpp"
#include "runtime_impl.hpp"

namespace lockstep {

bool GradientReducer::Impl::finish() {
  const at::NoGradGuard no_grad;
  if (!reduced_) buffers_.launch({.order = runtime_.impl().reduce_order(), .label = "the module's buffers"});
  Work flags = share_flags();
  if (!reduced_) wait_for_buckets();
  flags.wait();
  if (reduced_) {
    refuse_other_flags();
  } else {
    publish();
    buffers_.finish();
  }
  in_step_ = false;
  return flags_.back() != 0;
}

void GradientReducer::Impl::wait_for_buckets() {
  for (Bucket& bucket : buckets_) bucket.work->wait();
}

// The flags are this rank's own: others' come when the device works already.
void GradientReducer::Impl::reduce_now() {
  const at::NoGradGuard no_grad;
  end_micro_batch();
  buffers_.launch({.order = runtime_.impl().reduce_order(), .label = "the module's buffers"});
  flags_ = flags_of_record_ = own_flags();
  wait_for_buckets();
  publish();
  buffers_.finish();
  reduced_ = true;
}

void GradientReducer::Impl::replayed() {
  flags_ = flags_of_record_;
  for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].used = flags_[i] != 0;
  for (Bucket& bucket : buckets_) bucket.leaf_open = false;
  publish();
  reduced_ = true;
}

// The optimizer has stepped by the gradients of this rank's parameters.
void GradientReducer::Impl::refuse_other_flags() const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (flags_[i] == flags_of_record_[i]) continue;
    throw Error(
        {.who = comm_->who(),
         .what = fmt::format("the gradient of {} in a captured step", parameters_[i].name),
         .why = "another rank used the parameter and this one did not; the optimizer has stepped, and ranks differ now",
         .fix = "start again from the newest checkpoint, and use the same parameters in every micro-batch or no "
                "CapturedStep"});
  }
}

std::vector<std::uint8_t> GradientReducer::Impl::own_flags() const {
  std::vector<std::uint8_t> flags;
  for (const Parameter& parameter : parameters_) flags.push_back(parameter.used ? 1 : 0);
  flags.push_back(runtime_.impl().stop_requested() ? 1 : 0);
  return flags;
}

// Collective. What some rank has is a flag of all. Over the host: to read it on a GPU would be to wait for the step.
Work GradientReducer::Impl::share_flags() {
  flags_ = own_flags();
  return host().all_reduce(Buffer{flags_.data(), static_cast<std::int64_t>(flags_.size()), DType::uint8}, ReduceOp::max,
                           {.label = "which gradients there are"});
}

// Points every used parameter's gradient at its place in the bucket.
void GradientReducer::Impl::publish() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (flags_[i] == 0) continue;
    const Parameter& parameter = parameters_[i];
    const Bucket& bucket = buckets_[parameter.bucket];
    at::Tensor gradient = view(bucket, parameter.place, bucket.sums->result());
    parameter.tensor.mutable_grad() = gradient.to(parameter.tensor.scalar_type());  // no copy if the dtype is the same
  }
}

}  // namespace lockstep
