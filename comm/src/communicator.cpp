// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/communicator.hpp"

#include <fmt/format.h>

#include "communicator_impl.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using comm::Call;
using comm::Kind;

std::byte* bytes_of(void* data) { return static_cast<std::byte*>(data); }
const std::byte* bytes_of(const void* data) { return static_cast<const std::byte*>(data); }

// One leaf a rank: what a plain reduction is to the tree.
Partial own_leaf(int rank, const void* data) { return {.first_leaf = rank, .leaves = 1, .data = bytes_of(data)}; }

Call reduction(Kind kind, Buffer buffer, ReduceOp op, int world_size, const CollectiveOptions& options) {
  check_reducible(op, buffer.dtype);
  return {.kind = kind,
          .dtype = buffer.dtype,
          .op = op,
          .order = options.order,
          .elements = buffer.elements,
          .leaves = world_size,
          .scale = op == ReduceOp::avg ? 1.0 / world_size : 1.0};
}

// What reduce_partials takes is fixed by the contract; a caller that strays would hang or sum wrongly.
void check_partials(const PartialSums& sums, int rank, int world_size, DType dtype) {
  const auto refuse = [&](std::string why) {
    throw UsageError(
        {.what = fmt::format("reduce_partials of {} leaves", sums.leaves), .why = std::move(why), .fix = {}});
  };
  if (dtype != DType::float32 && dtype != DType::float64) refuse("partial sums are float32 or float64");
  if (sums.leaves < world_size) refuse(fmt::format("{} ranks cannot share fewer leaves than ranks", world_size));
  const std::vector<Range> expected = subtrees_in(even_split(sums.leaves, world_size, rank), sums.leaves);
  bool equal = expected.size() == sums.partials.size();
  for (std::size_t i = 0; equal && i < expected.size(); ++i) equal = expected[i] == sums.partials[i].range();
  if (!equal) refuse(fmt::format("the partial sums are not those that rank {} of {} owns", rank, world_size));
}

}  // namespace

Communicator::Impl::Impl(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout,
                         std::shared_ptr<ProgressEngine> engine)
    : state(std::make_shared<CommunicatorState>()), progress(std::move(engine)) {
  state->backend = std::move(backend);
  state->name = std::move(name);
  state->timeout = timeout;
}

Work Communicator::Impl::start(comm::Request request, const CollectiveOptions& options) {
  state->throw_if_failed();
  request.call.sequence = next_sequence_++;
  auto work = std::make_shared<Work::State>();
  work->communicator = state;
  work->progress = progress;
  work->call = request.call;
  work->label = options.label;
  work->started = std::chrono::steady_clock::now();
  work->timeout = options.timeout.value_or(state->timeout);
  try {
    work->operation = state->backend->start(request);
  } catch (const comm::BackendFailure& thrown) {
    state->fail(work->subject(), thrown.failure);
  }
  progress->add(work);
  return Work(std::move(work));
}

Communicator::Communicator(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout)
    : impl_(std::make_unique<Impl>(std::move(backend), std::move(name), timeout, std::make_shared<ProgressEngine>())) {}
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

int Communicator::rank() const noexcept { return impl_->state->backend->rank(); }
int Communicator::world_size() const noexcept { return impl_->state->backend->world_size(); }
std::string_view Communicator::name() const noexcept { return impl_->state->name; }
std::string_view Communicator::backend_name() const noexcept { return impl_->state->backend->name(); }
comm::Backend& Communicator::backend() noexcept { return *impl_->state->backend; }
const std::vector<comm::Peer>& Communicator::peers() const noexcept { return impl_->state->backend->peers(); }
std::string Communicator::who() const { return impl_->state->who(); }

Work Communicator::all_reduce(Buffer buffer, ReduceOp op, const CollectiveOptions& options) {
  const Partial own = own_leaf(rank(), buffer.data);
  return impl_->start({.call = reduction(Kind::all_reduce, buffer, op, world_size(), options),
                       .partials = {&own, 1},
                       .output = bytes_of(buffer.data)},
                      options);
}

Work Communicator::reduce_partials(Buffer result, const PartialSums& sums, const CollectiveOptions& options) {
  check_partials(sums, rank(), world_size(), result.dtype);
  Call call = reduction(Kind::all_reduce, result, ReduceOp::sum, world_size(), options);
  call.leaves = sums.leaves;
  call.scale = sums.scale;
  return impl_->start(
      {.call = call, .partials = {sums.partials.begin(), sums.partials.end()}, .output = bytes_of(result.data)},
      options);
}

Work Communicator::reduce_scatter(Buffer output, const void* input, ReduceOp op, const CollectiveOptions& options) {
  const Partial own = own_leaf(rank(), input);
  return impl_->start({.call = reduction(Kind::reduce_scatter, output, op, world_size(), options),
                       .partials = {&own, 1},
                       .output = bytes_of(output.data)},
                      options);
}

Work Communicator::all_gather(void* output, Buffer input, const CollectiveOptions& options) {
  return impl_->start({.call = {.kind = Kind::all_gather, .dtype = input.dtype, .elements = input.elements},
                       .input = bytes_of(input.data),
                       .output = bytes_of(output)},
                      options);
}

Work Communicator::broadcast(Buffer buffer, int root, const CollectiveOptions& options) {
  if (root < 0 || root >= world_size()) {
    throw UsageError({.who = who(),
                      .what = "broadcast",
                      .why = fmt::format("root {} is not a rank of {}", root, world_size()),
                      .fix = {}});
  }
  return impl_->start(
      {.call = {.kind = Kind::broadcast, .dtype = buffer.dtype, .root = root, .elements = buffer.elements},
       .input = bytes_of(buffer.data),
       .output = bytes_of(buffer.data)},
      options);
}

std::string Communicator::broadcast(std::string_view text, int root, const CollectiveOptions& options) {
  std::int64_t size = static_cast<std::int64_t>(text.size());
  broadcast(Buffer{&size, 1, DType::int64}, root, options).wait();
  std::string received(text);
  received.resize(static_cast<std::size_t>(size));
  broadcast(Buffer{received.data(), size, DType::uint8}, root, options).wait();
  return received;
}

void Communicator::barrier(const CollectiveOptions& options) {
  impl_->start({.call = {.kind = Kind::barrier}}, options).wait();
}

Communicator Communicator::duplicate(std::string name) {
  impl_->state->throw_if_failed();
  barrier();  // agrees that all ranks are here, under the deadline, before the backend's own collective
  Communicator copy(impl_->state->backend->duplicate(), std::move(name), impl_->state->timeout);
  copy.impl_->progress = impl_->progress;
  return copy;
}

std::shared_ptr<std::byte> Communicator::allocate(std::size_t bytes) { return impl_->state->backend->allocate(bytes); }
void Communicator::progress() { impl_->progress->advance(); }
void Communicator::observe_waits(WaitObserver* observer) { impl_->progress->observer = observer; }
bool Communicator::failed() const noexcept { return static_cast<bool>(impl_->state->error); }

void Communicator::abort(const std::string& why) noexcept {
  try {
    impl_->state->fail("abort", {.kind = comm::FailureKind::aborted, .why = why, .fix = {}});
  } catch (...) {  // remembered as the communicator's first error
  }
}

bool Communicator::claim_first_failure() noexcept { return impl_->state->backend->claim_first_failure(); }

void Communicator::close() {
  barrier();
  impl_->state->backend->close();
}

}  // namespace lockstep
