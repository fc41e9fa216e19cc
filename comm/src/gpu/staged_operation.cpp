// SPDX-License-Identifier: Apache-2.0
#include "staged_operation.hpp"

#include <algorithm>

#include "../moves.hpp"
#include "native_error.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr std::size_t in_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

template <class T>
std::vector<T> copy_of(std::span<const T> values) {
  return {values.begin(), values.end()};
}

std::int64_t end_of(const std::vector<Range>& ranges) {
  std::int64_t end = 0;
  for (const Range& range : ranges) end = std::max(end, range.empty() ? 0 : range.last);
  return end;
}

}  // namespace

StagedLane& StagedParts::lane_of(const Call& call) {
  if (!is_between_two(call.kind)) return collectives;
  auto& lanes = call.kind == Kind::send ? sends : receives;
  lanes.resize(static_cast<std::size_t>(host->world_size()));
  return lanes[static_cast<std::size_t>(call.root)];
}

StagedOperation::StagedOperation(StagedParts& parts, const Request& request)
    : parts_(parts),
      lane_(parts.lane_of(request.call)),
      request_(request),
      partials_(copy_of(request.partials)),
      leaf_bounds_(copy_of(request.leaf_bounds)),
      sizes_(copy_of(request.parts)),
      received_sizes_(copy_of(request.received_parts)),
      element_bytes_(size_of(request.call.dtype)),
      entry_(parts.device->events().take()) {
  request_.partials = partials_;
  request_.leaf_bounds = leaf_bounds_;
  request_.parts = sizes_;
  request_.received_parts = received_sizes_;
  plan_inputs_and_output();
  plan_pieces();
  CudaApi& cuda = parts_.device->cuda();
  check(cuda, cuda.record(entry_.get(), cuda.current_stream(parts_.device->index())), "cudaEventRecord");
  lane_.operations.push_back(this);
}

// One that is not done has failed: the device or a peer may still use its memory, which nobody must use again.
StagedOperation::~StagedOperation() {
  std::erase(lane_.operations, this);
  if (!finished_ && block_.memory) new std::shared_ptr<std::byte>(std::move(block_.memory));
}

bool StagedOperation::in_pieces() const noexcept {
  return is(Kind::all_reduce) || is(Kind::reduce) || is(Kind::broadcast) || is_between_two(request_.call.kind);
}

void StagedOperation::plan_inputs_and_output() {
  const int rank = parts_.host->rank();
  const int world_size = parts_.host->world_size();
  if (is_reduction(request_.call.kind)) {
    for (const Partial& partial : partials_) inputs_.push_back(partial.data);
    if (!is(Kind::reduce) || rank == request_.call.root) output_ = request_.output;
    input_elements_ = output_elements_ = request_.call.elements;
    if (!is(Kind::reduce_scatter)) return;
    const std::vector<Range> rows = rows_of(request_, world_size);
    input_elements_ = rows.back().last;
    output_elements_ = rows[static_cast<std::size_t>(rank)].size();
    return;
  }
  const Moves moves = moves_of(request_, rank, world_size);
  input_elements_ = end_of(moves.outgoing);
  output_elements_ = end_of(moves.incoming);
  if (input_elements_ > 0) inputs_.push_back(request_.input);
  const bool in_place = is(Kind::broadcast) && request_.input == request_.output && rank == request_.call.root;
  if (output_elements_ > 0 && !in_place) output_ = request_.output;
}

void StagedOperation::plan_pieces() {
  pieces_ = request_.agree_only ? 0 : 1;
  if (in_pieces()) {
    const auto size = std::max<std::int64_t>(static_cast<std::int64_t>(parts_.piece_bytes / element_bytes_), 1);
    pieces_ *= (request_.call.elements + size - 1) / size;
    input_elements_ = output_elements_ = std::min(size, request_.call.elements);
  }
  input_stride_ = in_lines(bytes_of(input_elements_));
  output_at_ = in_pieces() ? 0 : inputs_.size() * input_stride_;  // a piece is replaced by its result
  half_bytes_ = std::max(inputs_.size() * input_stride_, output_at_ + in_lines(bytes_of(output_elements_)));
}

Range StagedOperation::elements_of(std::int64_t piece) const {
  const std::int64_t first = piece * input_elements_;
  return {first, std::min(first + input_elements_, request_.call.elements)};
}

std::byte* StagedOperation::half_of(std::int64_t piece) const {
  return block_.memory.get() + static_cast<std::size_t>(piece % 2) * half_bytes_;
}

void StagedOperation::begin_if_first() {
  if (begun_ || !may_work()) return;
  begun_ = true;
  CudaApi& cuda = parts_.device->cuda();
  check(cuda, cuda.make_wait(parts_.stream, entry_.get()), "cudaStreamWaitEvent");
  block_ = parts_.pinned.take(half_bytes_ * static_cast<std::size_t>(std::min<std::int64_t>(pieces_, 2)));
  start_agreement();
}

// The calls of the pieces have the number of the whole: each is over before the next begins, and no rank is in the next
// before all have come to this one.
void StagedOperation::start_agreement() {
  if (!is_between_two(request_.call.kind)) {
    Request agreement = request_;
    agreement.agree_only = true;
    agreement_ = parts_.host->start(agreement);
    return;
  }
  if (is(Kind::send)) sent_ = request_.call;
  auto* const header = reinterpret_cast<std::byte*>(&sent_);
  agreement_ = parts_.host->start({.call = {.kind = request_.call.kind,
                                            .root = request_.call.root,
                                            .elements = sizeof sent_,
                                            .sequence = lane_.next_message++},
                                   .input = header,
                                   .output = header});
}

void StagedOperation::check_header() const {
  if (!is(Kind::receive) || agree(sent_, request_.call)) return;
  throw BackendFailure{mismatch(request_.call.root, sent_, parts_.host->rank(), request_.call)};
}

Advanced StagedOperation::advance(std::chrono::steady_clock::time_point slice_end) {
  if (!may_work()) return Advanced::not_yet;
  begin_if_first();
  auto moved = Advanced::not_yet;
  if (agreement_) {
    const Advanced agreed = agreement_->advance(slice_end);
    if (agreed != Advanced::fully) return std::max(moved, agreed);
    agreement_.reset();
    check_header();
    copy_in();  // not before: after a mismatch the caller may free its memory at once
    moved = Advanced::partly;
  }
  while (!finished_ && step(slice_end)) {
    moved = Advanced::partly;
    if (std::chrono::steady_clock::now() >= slice_end) break;
  }
  return finished_ ? Advanced::fully : moved;
}

bool StagedOperation::step(std::chrono::steady_clock::time_point slice_end) {
  if (call_) {
    const Advanced advanced = call_->advance(slice_end);
    if (advanced != Advanced::fully) return advanced == Advanced::partly;
    call_.reset();
    copy_out();
    copy_in();
    return true;
  }
  if (pieces_out_ < pieces_) {
    if (!seen(copied_in_[static_cast<std::size_t>(pieces_out_ % 2)])) return false;
    start_call();
    return true;
  }
  if (copied_out_ && !seen(copied_out_)) return false;
  finish();
  return true;
}

void StagedOperation::copy_in() {
  CudaApi& cuda = parts_.device->cuda();
  for (; pieces_in_ < pieces_ && pieces_in_ < pieces_out_ + 2; ++pieces_in_) {
    const Range elements = in_pieces() ? elements_of(pieces_in_) : Range{0, input_elements_};
    std::byte* to = half_of(pieces_in_);
    for (const std::byte* input : inputs_) {
      const std::size_t bytes = bytes_of(elements.size());
      if (bytes > 0)
        check(cuda, cuda.copy(to, input + bytes_of(elements.first), bytes, parts_.stream), "cudaMemcpyAsync");
      to += input_stride_;
    }
    // Recorded where there is nothing to copy, too: it tells that the copy out of this half is over.
    auto& event = copied_in_[static_cast<std::size_t>(pieces_in_ % 2)];
    if (!event) event = parts_.device->events().take();
    check(cuda, cuda.record(event.get(), parts_.stream), "cudaEventRecord");
  }
}

void StagedOperation::start_call() {
  std::byte* const half = half_of(pieces_out_);
  std::vector<Partial> partials = partials_;
  for (std::size_t i = 0; i < partials.size(); ++i) partials[i].data = half + i * input_stride_;
  Request request = request_;
  request.partials = partials;
  request.input = half;
  request.output = half + output_at_;
  if (in_pieces()) request.call.elements = elements_of(pieces_out_).size();
  if (is_between_two(request.call.kind)) request.call.sequence = lane_.next_message++;
  call_ = parts_.host->start(request);
}

void StagedOperation::copy_out() {
  const std::int64_t piece = pieces_out_++;
  const Range elements = in_pieces() ? elements_of(piece) : Range{0, output_elements_};
  if (output_ == nullptr || elements.empty()) return;
  CudaApi& cuda = parts_.device->cuda();
  check(cuda,
        cuda.copy(output_ + bytes_of(elements.first), half_of(piece) + output_at_, bytes_of(elements.size()),
                  parts_.stream),
        "cudaMemcpyAsync");
  if (pieces_out_ < pieces_) return;
  copied_out_ = parts_.device->events().take();
  check(cuda, cuda.record(copied_out_.get(), parts_.stream), "cudaEventRecord");
}

bool StagedOperation::seen(const std::shared_ptr<EventHandle>& event) {
  CudaApi& cuda = parts_.device->cuda();
  const CudaStatus status = cuda.query(event.get());
  if (status == CudaStatus::not_ready) {
    parts_.awaits_copy = true;
    return false;
  }
  check(cuda, status, "cudaEventQuery");
  return true;
}

void StagedOperation::finish() {
  finished_ = true;
  if (block_.memory) parts_.pinned.give_back(std::move(block_));
  lane_.operations.pop_front();
}

std::vector<int> StagedOperation::missing() const {
  const StagedOperation& at_work = *lane_.operations.front();
  if (at_work.agreement_) return at_work.agreement_->missing();
  if (at_work.call_) return at_work.call_->missing();
  return {parts_.host->rank()};  // our own device has not come so far
}

}  // namespace lockstep::comm::gpu
