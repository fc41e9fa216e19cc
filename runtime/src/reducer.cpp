// SPDX-License-Identifier: Apache-2.0
#include "reducer.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <sstream>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/tensor_dtype.hpp"
#include "runtime_impl.hpp"

namespace lockstep {
namespace {

std::vector<std::pair<std::string, at::Tensor>> trainable_parameters(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, at::Tensor>> found;
  for (const auto& item : module.named_parameters()) {
    if (item.value().requires_grad()) found.emplace_back(item.key(), item.value());
  }
  return found;
}

std::vector<at::Tensor> buffers_of(const torch::nn::Module& module) {
  std::vector<at::Tensor> found;
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) found.push_back(item.value());
  }
  return found;
}

at::Device device_of(const torch::nn::Module& module) {
  std::optional<at::Device> device;
  const auto look_at = [&](const std::string& name, const at::Tensor& tensor) {
    if (!device) device = tensor.device();
    if (tensor.device() == *device) return;
    throw UsageError({.what = "DistributedDataParallel",
                      .why = fmt::format("{} is on {}, the module's first parameter on {}", name, tensor.device().str(),
                                         device->str()),
                      .fix = "move the whole module by module->to(rt.device())"});
  };
  for (const auto& item : module.named_parameters()) look_at(item.key(), item.value());
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) look_at(item.key(), item.value());
  }
  return device.value_or(at::kCPU);
}

// One line a tensor, so that a difference between ranks can be named.
std::string describe(const torch::nn::Module& module) {
  std::ostringstream text;
  const auto line = [&](const std::string& name, const at::Tensor& tensor) {
    text << name << ": " << tensor.sizes() << " " << c10::toString(tensor.scalar_type()) << ", strides "
         << tensor.strides() << (tensor.requires_grad() ? "\n" : ", no gradient\n");
  };
  for (const auto& item : module.named_parameters()) line(item.key(), item.value());
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) line(item.key(), item.value());
  }
  return text.str();
}

void check_same_module(const std::string& ours, const std::string& theirs) {
  if (ours == theirs) return;
  std::istringstream our_lines(ours);
  std::istringstream their_lines(theirs);
  std::string our_line;
  std::string their_line;
  do {
    if (!std::getline(our_lines, our_line)) our_line = "nothing";
    if (!std::getline(their_lines, their_line)) their_line = "nothing";
  } while (our_line == their_line);
  throw UsageError({.what = "DistributedDataParallel",
                    .why = fmt::format("the module differs from rank 0's: here {}, there {}", our_line, their_line),
                    .fix = "build the same module on every rank"});
}

// Within which strides a view of the parameter's shape lies densely in memory.
std::vector<std::int64_t> dense_strides(const at::Tensor& tensor) {
  if (tensor.is_non_overlapping_and_dense()) return tensor.strides().vec();
  std::vector<std::int64_t> strides(static_cast<std::size_t>(tensor.dim()), 1);
  for (std::int64_t d = tensor.dim() - 2; d >= 0; --d) {
    const auto i = static_cast<std::size_t>(d);
    strides[i] = strides[i + 1] * std::max<std::int64_t>(tensor.size(d + 1), 1);
  }
  return strides;
}

// place = gradient · weight + 0, so that −0 becomes +0 on every path.
void write_scaled(at::Tensor& place, const at::Tensor& gradient, double weight) {
  const bool plain = gradient.scalar_type() == at::kFloat && place.scalar_type() == at::kFloat &&
                     gradient.strides() == place.strides();
  if (!plain) {
    place.copy_(gradient);
    if (weight != 1.0) place.mul_(weight);
    place.add_(0.0);
    return;
  }
  const float* const from = gradient.const_data_ptr<float>();
  float* const to = place.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(weight);
  for (std::int64_t i = 0, n = place.numel(); i < n; ++i) to[i] = from[i] * factor + 0.0F;
}

// The gradient in the strides of its place.
at::Tensor laid_out_as(const at::Tensor& place, const at::Tensor& gradient) {
  if (gradient.strides() == place.strides()) return gradient;
  return at::empty_like(place, gradient.scalar_type()).copy_(gradient);
}

}  // namespace

GradientReducer::Impl::Impl(Runtime& runtime, std::shared_ptr<torch::nn::Module> module)
    : runtime_(runtime),
      module_(std::move(module)),
      device_(device_of(*module_)),
      comm_(runtime.impl().communicator_for(device_, "gradients")),
      thread_(std::this_thread::get_id()),
      buffers_(*comm_, buffers_of(*module_), device_) {
  if (comm_->backend().memory() != comm::Backend::kHostMemory) {
    gpu_ = &*runtime_.impl().gpu;
    beside_.emplace(runtime_.world().duplicate("steps"));
  }
  copy_from_rank_0();
  buffers_.remember_start();
  make_buckets();
  add_hooks();
  runtime_.impl().participants.push_back(this);
}

GradientReducer::Impl::~Impl() {
  const bool in_flight =
      std::any_of(buckets_.begin(), buckets_.end(), [](const Bucket& b) { return b.work.has_value(); });
  if (in_step_ && in_flight) {  // else we would wait
    constexpr const char* kWhy = "a step was left before its gradients were complete";
    comm_->abort(kWhy);
    if (beside_) beside_->abort(kWhy);
  }
  for (Parameter& parameter : parameters_) parameter.accumulator->del_post_hook(parameter.hook);
  std::erase(runtime_.impl().participants, this);
}

void GradientReducer::Impl::copy_from_rank_0() {
  const std::string ours = describe(*module_);
  check_same_module(ours, host().broadcast(ours, 0));
  const at::NoGradGuard no_grad;
  const auto copy = [this](const at::Tensor& tensor) {
    at::Tensor plain = tensor.detach().contiguous();
    comm_->broadcast(plain, 0).wait();
    tensor.detach().copy_(plain);
  };
  for (const at::Tensor& parameter : module_->parameters()) copy(parameter);
  for (const at::Tensor& buffer : buffers_of(*module_)) copy(buffer);
}

void GradientReducer::Impl::make_buckets() {
  std::vector<ParameterShape> shapes;
  for (auto& [name, tensor] : trainable_parameters(*module_)) {
    const DType dtype = tensor.scalar_type() == at::kDouble ? DType::float64 : DType::float32;
    shapes.push_back({tensor.numel(), dtype});
    Parameter parameter;
    parameter.name = name;
    parameter.tensor = tensor;
    parameters_.push_back(std::move(parameter));
  }
  if (parameters_.empty()) {
    throw UsageError({.what = "DistributedDataParallel",
                      .why = "the module has no parameter that requires a gradient",
                      .fix = "train without it"});
  }
  for (BucketLayout& layout : plan_buckets(shapes, runtime_.impl().options.bucket_bytes)) {
    Bucket bucket;
    for (std::size_t place = 0; place < layout.parameters.size(); ++place) {
      Parameter& parameter = parameters_[static_cast<std::size_t>(layout.parameters[place])];
      parameter.bucket = buckets_.size();
      parameter.place = place;
    }
    bucket.label = fmt::format("the gradients of {}", parameters_[static_cast<std::size_t>(layout.parameters[0])].name);
    if (layout.parameters.size() > 1) {
      bucket.label += fmt::format(" … {}", parameters_[static_cast<std::size_t>(layout.parameters.back())].name);
    }
    bucket.layout = std::move(layout);
    buckets_.push_back(std::move(bucket));
  }
  for (Bucket& bucket : buckets_) {
    bucket.sums = std::make_shared<TreeAccumulator>(*comm_, bucket.layout.elements, bucket.layout.dtype, device_);
  }
}

void GradientReducer::Impl::add_hooks() {
  for (std::size_t index = 0; index < parameters_.size(); ++index) {
    Parameter& parameter = parameters_[index];
    parameter.accumulator = torch::autograd::impl::grad_accumulator(parameter.tensor);
    parameter.hook = parameter.accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
        [this, index](const torch::autograd::variable_list& outputs, const torch::autograd::variable_list&) {
          on_gradient(index);
          return outputs;
        }));
  }
}

// Shares the bucket's memory without being an autograd view of it: Optimizer::zero_grad() detaches gradients in place,
// which views refuse.
at::Tensor GradientReducer::Impl::view(const Bucket& bucket, std::size_t place, const at::Tensor& memory) const {
  const at::Tensor& parameter = parameters_[static_cast<std::size_t>(bucket.layout.parameters[place])].tensor;
  at::Tensor tensor = at::empty({0}, memory.options());
  tensor.set_(memory.storage(), bucket.layout.offsets[place], parameter.sizes(), dense_strides(parameter));
  return tensor;
}

void GradientReducer::Impl::begin_step(const StepPlan& plan) {
  if (in_step_) {
    throw UsageError({.what = fmt::format("step {}", plan.step),
                      .why = "the step before left its micro-batches early, so its gradients were never completed",
                      .fix = "run every micro-batch of a step"});
  }
  drop_zero_gradients();
  buffers_.remember_start();
  start_step(plan);
}

// Autograd would add to what is there. Zeros are fine (zero_grad(false)): they are dropped. Anything else is refused.
void GradientReducer::Impl::drop_zero_gradients() {
  at::Tensor nonzero;  // of all: on a GPU it is read once
  for (const Parameter& parameter : parameters_) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined()) continue;
    const at::Tensor own = gradient.count_nonzero();
    nonzero = nonzero.defined() ? nonzero + own : own;
  }
  if (!nonzero.defined()) return;
  if (nonzero.item<std::int64_t>() != 0) {
    for (const Parameter& parameter : parameters_) {
      const at::Tensor& gradient = parameter.tensor.grad();
      if (gradient.defined() && gradient.count_nonzero().item<std::int64_t>() != 0) refuse_stale(parameter);
    }
  }
  for (Parameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
}

void GradientReducer::Impl::refuse_stale(const Parameter& parameter) const {
  throw UsageError({.what = fmt::format("the gradient of {}", parameter.name),
                    .why = "it still holds that of the step before",
                    .fix = "call optimizer.zero_grad() before the first micro-batch"});
}

void GradientReducer::Impl::start_step(const StepPlan& plan) {
  plan_ = plan;
  in_step_ = true;
  reduced_ = false;
  next_launch_ = 0;
  for (Parameter& parameter : parameters_) parameter.used = false;
  for (Bucket& bucket : buckets_) {
    bucket.sums->begin(plan.owned.first, plan.micro_batches);
    bucket.work.reset();
  }
  buffers_.begin_step(plan);
}

void GradientReducer::Impl::begin_micro_batch(int, std::int64_t samples, bool last_of_rank) {
  last_micro_batch_ = last_of_rank;
  const bool equal_parts = plan_.samples == 0 || samples * plan_.micro_batches == plan_.samples;
  leaf_weight_ =
      equal_parts ? 1.0 : static_cast<double>(samples) * plan_.micro_batches / static_cast<double>(plan_.samples);
  for (Parameter& parameter : parameters_) parameter.in_leaf = false;
  for (Bucket& bucket : buckets_) {
    bucket.pending = bucket.layout.parameters.size();
    bucket.leaf_open = true;
  }
  buffers_.begin_micro_batch(samples == 0 && plan_.samples > 0);
}

void GradientReducer::Impl::on_gradient(std::size_t index) {
  Parameter& parameter = parameters_[index];
  Bucket& bucket = buckets_[parameter.bucket];
  at::Tensor& gradient = parameter.tensor.mutable_grad();
  if (!gradient.defined()) return;
  if (!in_step_) begin_implicit_step(gradient, parameter);
  if (gradient.is_sparse()) {
    throw UsageError({.what = fmt::format("the gradient of {}", parameter.name),
                      .why = "it is sparse, and lockstep sums dense gradients only",
                      .fix = "build the embedding with sparse(false)"});
  }
  if (!bucket.leaf_open) {
    throw UsageError({.what = fmt::format("the gradient of {}", parameter.name),
                      .why = "a second backward pass of the micro-batch reached it after its bucket was launched",
                      .fix = "add the losses up and call backward once for each micro-batch"});
  }
  write_leaf(parameter, gradient);
  gradient.reset();
  if (bucket.pending == 0 && last_micro_batch_) {
    close_leaf(bucket);
    if (may_call_here(*comm_)) launch_ready();
  }
  if (gpu_ == nullptr) comm_->progress();
}

// Gradients on a GPU are ready on a thread of autograd's.
bool GradientReducer::Impl::may_call_here(Communicator& comm) const {
  return comm.backend().any_thread() || std::this_thread::get_id() == thread_;
}

void GradientReducer::Impl::write_leaf(Parameter& parameter, const at::Tensor& gradient) {
  Bucket& bucket = buckets_[parameter.bucket];
  at::Tensor place = view(bucket, parameter.place, bucket.sums->leaf());
  const at::NoGradGuard no_grad;
  if (gpu_ != nullptr) {
    gpu_->scaled_copy(place, laid_out_as(place, gradient), leaf_weight_, parameter.in_leaf);
  } else if (parameter.in_leaf) {
    place.add_(gradient.to(place.scalar_type()), leaf_weight_);
  } else {
    write_scaled(place, gradient, leaf_weight_);
  }
  if (parameter.in_leaf) return;
  parameter.in_leaf = true;
  parameter.used = true;
  --bucket.pending;
}

// Parameters that this micro-batch did not use contribute +0.
void GradientReducer::Impl::close_leaf(Bucket& bucket) {
  if (bucket.pending > 0) {
    for (std::size_t place = 0; place < bucket.layout.parameters.size(); ++place) {
      if (!parameters_[static_cast<std::size_t>(bucket.layout.parameters[place])].in_leaf) {
        view(bucket, place, bucket.sums->leaf()).zero_();
      }
    }
  }
  bucket.sums->close_leaf();
  bucket.leaf_open = false;
}

void GradientReducer::Impl::launch_ready() {
  while (next_launch_ < buckets_.size() && !buckets_[next_launch_].leaf_open) launch(buckets_[next_launch_++]);
  // Once a bucket, as asking a GPU how far it is costs time. It advances what the host has in flight, too.
  if (gpu_ != nullptr && may_call_here(host())) comm_->progress();
}

void GradientReducer::Impl::launch(Bucket& bucket) {
  const at::Tensor& memory = bucket.sums->result();
  const std::vector<Partial> partials = bucket.sums->partials();
  bucket.work.emplace(comm_->reduce_partials({memory.data_ptr(), bucket.layout.elements, bucket.layout.dtype},
                                             {partials, plan_.micro_batches, 1.0 / plan_.micro_batches},
                                             {.order = runtime_.impl().reduce_order(), .label = bucket.label}));
  bucket.work->keep_alive(bucket.sums);
}

void GradientReducer::Impl::end_micro_batch() {
  if (reduced_) return;
  const at::NoGradGuard no_grad;
  buffers_.end_micro_batch();
  for (Bucket& bucket : buckets_) {
    if (bucket.leaf_open) close_leaf(bucket);
  }
  if (last_micro_batch_) launch_ready();
}

// A backward pass outside Runtime::steps is one micro-batch of each rank, completed when this pass of the engine ends.
void GradientReducer::Impl::begin_implicit_step(const at::Tensor& gradient, const Parameter& parameter) {
  const at::Tensor kept = view(buckets_[parameter.bucket], parameter.place, buckets_[parameter.bucket].sums->result());
  if (gradient.const_data_ptr() == kept.const_data_ptr()) refuse_stale(parameter);  // autograd has added to it
  if (!may_call_here(host())) {
    throw UsageError({.what = "a backward pass on a GPU outside of Runtime::steps",
                      .why = fmt::format("its gradients are complete on a thread of LibTorch's, which may not use {}",
                                         host().backend_name()),
                      .fix = "train in for (auto& step : rt.steps(state, loader))"});
  }
  start_own_micro_batch();
  torch::autograd::Engine::get_default_engine().queue_callback([this] { finish_own_micro_batch(); });
}

void GradientReducer::Impl::start_own_micro_batch() {
  const int rank = comm_->rank();
  start_step({.step = 0, .micro_batches = comm_->world_size(), .owned = {rank, rank + 1}, .samples = 0});
  begin_micro_batch(rank, 0, true);
}

void GradientReducer::Impl::finish_own_micro_batch() {
  end_micro_batch();
  static_cast<void>(finish());
  buffers_.remember_start();
}

void GradientReducer::Impl::synchronize() {
  if (in_step_) return;   // the engine's callback completes it
  drop_zero_gradients();  // a rank that had its backward would sum zeros into its own gradients
  start_own_micro_batch();
  finish_own_micro_batch();
}

GradientReducer::GradientReducer(Runtime& runtime, std::shared_ptr<torch::nn::Module> module)
    : impl_(std::make_unique<Impl>(runtime, std::move(module))) {}
GradientReducer::~GradientReducer() = default;
void GradientReducer::synchronize() { impl_->synchronize(); }

}  // namespace lockstep
