// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/communicator.hpp"

#include <fmt/format.h>

#include <numeric>

#include "communicator_impl.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/mix.hpp"

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
  if (options.scale != 1.0 && !is_floating(buffer.dtype)) {
    throw UsageError({.what = fmt::format("{} of {}", name_of(kind), name_of(buffer.dtype)),
                      .why = "only reductions of floats can be scaled",
                      .fix = {}});
  }
  return {.kind = kind,
          .dtype = buffer.dtype,
          .op = op,
          .order = options.order,
          .elements = buffer.elements,
          .leaves = world_size,
          .scale = op == ReduceOp::avg ? options.scale / world_size : options.scale};
}

// Agreed on with the peers in place of the sizes themselves. Never 0, which says that parts are equal.
std::uint64_t hash_of(std::span<const std::int64_t> parts) {
  std::uint64_t hash = kGoldenGamma;
  for (const std::int64_t part : parts) hash = mix_bits(hash ^ static_cast<std::uint64_t>(part));
  return hash | 1;
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
                         std::shared_ptr<ProgressEngine> engine, const flight::Group* parent, std::string_view branch)
    : state(std::make_shared<CommunicatorState>()), progress(std::move(engine)) {
  state->backend = std::move(backend);
  state->name = std::move(name);
  state->timeout = timeout;
  state->flight = flight::add_group(*state->backend, state->name, parent, branch);
}

Communicator::Impl::~Impl() { state->flight->open.store(false, std::memory_order_relaxed); }

std::uint64_t Communicator::Impl::next_sequence(const comm::Call& call) {
  if (!comm::is_between_two(call.kind)) return next_sequence_++;
  auto& of_pairs = call.kind == Kind::send ? next_sent_ : next_received_;
  of_pairs.resize(static_cast<std::size_t>(state->backend->world_size()), 0);
  return of_pairs[static_cast<std::size_t>(call.root)]++;
}

Work Communicator::Impl::start(comm::Request request, const CollectiveOptions& options) {
  state->throw_if_failed();
  request.call.sequence = next_sequence(request.call);
  auto work = std::make_shared<Work::State>();
  work->communicator = state;
  work->progress = progress;
  work->call = request.call;
  work->label = options.label;
  work->started = std::chrono::steady_clock::now();
  work->timeout = options.timeout.value_or(state->timeout);
  work->mark = state->flight->record(work->call, work->label, work->started);
  request.timeout = work->timeout;
  request.label = work->label;
  try {
    work->operation = state->backend->start(request);
  } catch (const comm::BackendFailure& thrown) {
    state->fail(work->subject(), thrown.failure);
  }
  progress->add(work);
  return Work(std::move(work));
}

Communicator::Communicator(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout)
    : Communicator(std::make_unique<Impl>(std::move(backend), std::move(name), timeout,
                                          std::make_shared<ProgressEngine>(), nullptr, std::string_view())) {}
Communicator::Communicator(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
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

void Communicator::Impl::check_rank(int rank, Kind kind) const {
  if (rank >= 0 && rank < state->backend->world_size()) return;
  throw UsageError({.who = state->who(),
                    .what = std::string(comm::name_of(kind)),
                    .why = fmt::format("rank {} is not one of {}", rank, state->backend->world_size()),
                    .fix = {}});
}

void Communicator::Impl::check_parts(std::span<const std::int64_t> parts, Kind kind) const {
  const auto refuse = [&](std::string why) {
    throw UsageError({.who = state->who(), .what = std::string(comm::name_of(kind)), .why = std::move(why), .fix = {}});
  };
  const auto ranks = static_cast<std::size_t>(state->backend->world_size());
  if (parts.size() != ranks) refuse(fmt::format("{} sizes of parts for {} ranks", parts.size(), ranks));
  for (const std::int64_t part : parts) {
    if (part < 0) refuse(fmt::format("a part of {} elements", part));
  }
}

void Communicator::Impl::check_own_part(std::span<const std::int64_t> parts, Buffer own, Kind kind) const {
  check_parts(parts, kind);
  const std::int64_t listed = parts[static_cast<std::size_t>(state->backend->rank())];
  if (listed == own.elements) return;
  throw UsageError({.who = state->who(),
                    .what = std::string(comm::name_of(kind)),
                    .why = fmt::format("this rank's part has {} elements and {} are listed", own.elements, listed),
                    .fix = {}});
}

Work Communicator::all_reduce(Buffer buffer, ReduceOp op, const CollectiveOptions& options) {
  return all_reduce(buffer, buffer.data, op, options);
}

Work Communicator::all_reduce(Buffer output, const void* input, ReduceOp op, const CollectiveOptions& options) {
  const Partial own = own_leaf(rank(), input);
  return impl_->start({.call = reduction(Kind::all_reduce, output, op, world_size(), options),
                       .partials = {&own, 1},
                       .output = bytes_of(output.data)},
                      options);
}

Work Communicator::reduce(Buffer output, const void* input, int root, ReduceOp op, const CollectiveOptions& options) {
  impl_->check_rank(root, Kind::reduce);
  const Partial own = own_leaf(rank(), input);
  Call call = reduction(Kind::reduce, output, op, world_size(), options);
  call.root = root;
  return impl_->start({.call = call, .partials = {&own, 1}, .output = bytes_of(output.data)}, options);
}

Work Communicator::reduce_partials(Buffer result, const PartialSums& sums, const CollectiveOptions& options) {
  check_partials(sums, rank(), world_size(), result.dtype);
  Call call = reduction(Kind::all_reduce, result, ReduceOp::sum, world_size(), options);
  call.leaves = sums.leaves;
  call.scale = sums.scale;
  return impl_->start({.call = call, .partials = sums.partials, .output = bytes_of(result.data)}, options);
}

Work Communicator::reduce_scatter(Buffer output, const void* input, ReduceOp op, const CollectiveOptions& options) {
  const Partial own = own_leaf(rank(), input);
  return impl_->start({.call = reduction(Kind::reduce_scatter, output, op, world_size(), options),
                       .partials = {&own, 1},
                       .output = bytes_of(output.data)},
                      options);
}

Work Communicator::reduce_scatter(Buffer output, const void* input, std::span<const std::int64_t> parts, ReduceOp op,
                                  const CollectiveOptions& options) {
  impl_->check_own_part(parts, output, Kind::reduce_scatter);
  const Partial own = own_leaf(rank(), input);
  Call call = reduction(Kind::reduce_scatter, output, op, world_size(), options);
  call.elements = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
  call.parts = hash_of(parts);
  return impl_->start({.call = call, .partials = {&own, 1}, .parts = parts, .output = bytes_of(output.data)}, options);
}

Work Communicator::broadcast(Buffer buffer, int root, const CollectiveOptions& options) {
  return impl_->move(Kind::broadcast, buffer.data, buffer.data, buffer, root, options);
}

Work Communicator::all_gather(void* output, Buffer input, const CollectiveOptions& options) {
  return impl_->move(Kind::all_gather, output, input.data, input, -1, options);
}

Work Communicator::gather(void* output, Buffer input, int root, const CollectiveOptions& options) {
  return impl_->move(Kind::gather, output, input.data, input, root, options);
}

Work Communicator::scatter(Buffer output, const void* input, int root, const CollectiveOptions& options) {
  return impl_->move(Kind::scatter, output.data, input, output, root, options);
}

Work Communicator::all_to_all(void* output, Buffer input, const CollectiveOptions& options) {
  if (input.elements % world_size() != 0) {
    throw UsageError({.who = who(),
                      .what = "all_to_all",
                      .why = fmt::format("{} elements are no equal parts for {} ranks", input.elements, world_size()),
                      .fix = "pass the sizes of the parts"});
  }
  const Buffer part{input.data, input.elements / world_size(), input.dtype};
  return impl_->move(Kind::all_to_all, output, input.data, part, -1, options);
}

Work Communicator::all_gather(void* output, Buffer input, std::span<const std::int64_t> parts,
                              const CollectiveOptions& options) {
  return impl_->move_parts(Kind::all_gather, output, input.data, input, parts, -1, options);
}

Work Communicator::gather(void* output, Buffer input, std::span<const std::int64_t> parts, int root,
                          const CollectiveOptions& options) {
  return impl_->move_parts(Kind::gather, output, input.data, input, parts, root, options);
}

Work Communicator::scatter(Buffer output, const void* input, std::span<const std::int64_t> parts, int root,
                           const CollectiveOptions& options) {
  return impl_->move_parts(Kind::scatter, output.data, input, output, parts, root, options);
}

Work Communicator::all_to_all(void* output, std::span<const std::int64_t> received_parts, const void* input,
                              std::span<const std::int64_t> sent_parts, DType dtype, const CollectiveOptions& options) {
  impl_->check_parts(sent_parts, Kind::all_to_all);
  impl_->check_parts(received_parts, Kind::all_to_all);
  return impl_->start({.call = {.kind = Kind::all_to_all, .dtype = dtype, .parts = 1},
                       .parts = sent_parts,
                       .received_parts = received_parts,
                       .input = bytes_of(input),
                       .output = bytes_of(output)},
                      options);
}

Work Communicator::send(Buffer buffer, int to, const CollectiveOptions& options) {
  return impl_->move(Kind::send, nullptr, buffer.data, buffer, to, options);
}

Work Communicator::receive(Buffer buffer, int from, const CollectiveOptions& options) {
  return impl_->move(Kind::receive, buffer.data, nullptr, buffer, from, options);
}

Work Communicator::Impl::move(Kind kind, void* output, const void* input, Buffer part, int root,
                              const CollectiveOptions& options) {
  const bool rooted = kind != Kind::all_gather && kind != Kind::all_to_all;
  if (rooted) check_rank(root, kind);
  return start({.call = {.kind = kind, .dtype = part.dtype, .root = root, .elements = part.elements},
                .input = bytes_of(input),
                .output = bytes_of(output)},
               options);
}

Work Communicator::Impl::move_parts(Kind kind, void* output, const void* input, Buffer own,
                                    std::span<const std::int64_t> parts, int root, const CollectiveOptions& options) {
  check_own_part(parts, own, kind);
  if (kind != Kind::all_gather) check_rank(root, kind);
  return start({.call = {.kind = kind,
                         .dtype = own.dtype,
                         .root = root,
                         .elements = std::accumulate(parts.begin(), parts.end(), std::int64_t{0}),
                         .parts = hash_of(parts)},
                .parts = parts,
                .input = bytes_of(input),
                .output = bytes_of(output)},
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

Communicator Communicator::made_from_this(std::unique_ptr<comm::Backend> backend, std::string name,
                                          std::string_view branch) const {
  return Communicator(std::make_unique<Impl>(std::move(backend), std::move(name), impl_->state->timeout,
                                             impl_->progress, impl_->state->flight.get(), branch));
}

Communicator Communicator::duplicate(std::string name) { return *split(0, rank(), std::move(name)); }

std::optional<Communicator> Communicator::split(std::optional<int> color, int key, std::string name) {
  if (color && *color < 0) {
    throw UsageError({.who = who(),
                      .what = fmt::format("split into \"{}\"", name),
                      .why = fmt::format("color {} is negative", *color),
                      .fix = "pass none for a rank that takes no part"});
  }
  auto part = make_backend(fmt::format("split into \"{}\"", name),
                           [&](comm::Backend& own) { return own.split(color.value_or(-1), key); });
  if (!part) return std::nullopt;
  const std::uint64_t calls = impl_->state->flight->collectives.load(std::memory_order_relaxed);  // the same on all
  return made_from_this(std::move(part), std::move(name), fmt::format("{}.{}", calls, *color));
}

Communicator Communicator::shrink(std::string name) {
  if (!failed()) {
    throw UsageError({.who = who(),
                      .what = fmt::format("shrink into \"{}\"", name),
                      .why = "this communicator has not failed",
                      .fix = "use split to make a smaller one while all ranks live"});
  }
  return made_from_this(impl_->state->backend->shrink(impl_->state->timeout), std::move(name), "shrunk");
}

std::shared_ptr<std::byte> Communicator::allocate(std::size_t bytes) { return impl_->state->backend->allocate(bytes); }
void Communicator::progress() { impl_->progress->advance(); }
void Communicator::observe_waits(WaitObserver* observer) { impl_->progress->observer = observer; }

void Communicator::check() {
  impl_->state->throw_if_failed();
  try {
    impl_->state->backend->throw_if_failed();
  } catch (const comm::BackendFailure& thrown) {
    impl_->state->fail("what was called so far", thrown.failure);
  }
}

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
