// SPDX-License-Identifier: Apache-2.0
#include "fake_streams.hpp"

#include <algorithm>
#include <utility>

namespace lockstep::test {

using comm::gpu::CudaStatus;

Marker* StreamControl::make_marker() {
  const std::lock_guard lock(mutex_);
  return &markers_.emplace_back();
}

FakeStream::FakeStream(StreamControl& control, Runs runs)
    : control_(control), runs_(runs), last_(new Node), first_(last_) {
  if (runs == Runs::on_own_thread) thread_ = std::thread([this] { loop(); });
}

FakeStream::~FakeStream() {
  if (thread_.joinable()) {
    queued_.release();
    thread_.join();
  }
  while (first_ != nullptr) delete std::exchange(first_, first_->next.load());
}

void FakeStream::queue(const Launch& launch) {
  if (Capture* capture = this->capture()) return capture->launch(*this, launch);
  run(launch());
}

void FakeStream::run(Task task) {
  if (runs_ == Runs::on_caller) return task();
  auto* node = new Node{.task = std::move(task)};
  {
    const std::lock_guard lock(producers_);
    std::exchange(last_, node)->next.store(node, std::memory_order_release);
  }
  queued_.release();
}

void FakeStream::loop() {
  while (true) {
    queued_.acquire();
    wait_until([&] { return !control_.held.load(std::memory_order_relaxed) || control_.stopping.load(); });
    Node* node = first_->next.load(std::memory_order_acquire);
    if (control_.stopping.load() || node == nullptr) return;  // woken by the destructor
    delete std::exchange(first_, node);
    std::exchange(node->task, {})();
  }
}

Marker* FakeStream::mark() {
  Marker* marker = control_.make_marker();
  run([marker] { marker->passed.store(true, std::memory_order_release); });
  return marker;
}

void FakeStream::wait_for(const Marker* marker) {
  run([marker, &control = control_] {
    wait_until([&] { return marker->passed.load(std::memory_order_acquire) || control.stopping.load(); });
  });
}

Capture::Capture(FakeStream& origin) : origin_(&origin) {
  before_[&origin];
  origin.set_capture(this);
}

void Capture::add(Step step) {
  before_[step.stream][step.stream] = steps_.size();
  steps_.push_back(std::move(step));
}

void Capture::launch(FakeStream& stream, Launch launch) {
  const std::lock_guard lock(mutex_);
  last_launch_[&stream] = steps_.size();
  add({.kind = Kind::launch, .stream = &stream, .launch = std::move(launch), .event = 0});
}

void Capture::record(FakeStream& stream, FakeEvent& event) {
  const std::lock_guard lock(mutex_);
  add({.kind = Kind::record, .stream = &stream, .launch = {}, .event = records_});
  event.capture = this;
  event.captured = records_++;
  event.before = before_[&stream];
}

void Capture::make_wait(FakeStream& stream, const FakeEvent& event) {
  const std::lock_guard lock(mutex_);
  stream.set_capture(this);
  add({.kind = Kind::wait, .stream = &stream, .launch = {}, .event = event.captured});
  for (const auto& [other, step] : event.before) {
    std::size_t& known = before_[&stream][other];
    known = std::max(known, step);
  }
}

bool Capture::end() {
  const std::lock_guard lock(mutex_);
  for (const auto& [stream, before] : before_) stream->set_capture(nullptr);
  const StepsBefore& joined = before_.at(origin_);
  return std::ranges::all_of(last_launch_, [&](const auto& last) {
    const auto known = joined.find(last.first);
    return known != joined.end() && known->second >= last.second;
  });
}

void Capture::replay(FakeStream& current) {
  const std::lock_guard lock(mutex_);
  const Marker* start = current.mark();
  std::map<FakeStream*, FakeStream*> streams{{origin_, &current}};
  for (const auto& [stream, before] : before_) {
    if (stream == origin_) continue;
    auto& branch = branches_[stream];
    if (!branch) branch = std::make_unique<FakeStream>(current.control(), FakeStream::Runs::on_own_thread);
    branch->wait_for(start);
    streams[stream] = branch.get();
  }
  std::vector<const Marker*> markers(records_);
  for (const Step& step : steps_) {
    FakeStream& stream = *streams.at(step.stream);
    if (step.kind == Kind::launch) stream.run(step.launch());
    if (step.kind == Kind::record) markers[step.event] = stream.mark();
    if (step.kind == Kind::wait) stream.wait_for(markers[step.event]);
  }
}

CudaStatus record(FakeEvent& event, FakeStream& stream) {
  const std::lock_guard lock(event.mutex);
  if (Capture* capture = stream.capture()) {
    capture->record(stream, event);
  } else {
    event.capture = nullptr;
    event.marker = stream.mark();
  }
  return CudaStatus::success;
}

CudaStatus make_wait(FakeStream& stream, FakeEvent& event) {
  const std::lock_guard lock(event.mutex);
  if (stream.capture() != nullptr && stream.capture() != event.capture) return kCaptureIsolation;
  if (event.capture != nullptr) {
    event.capture->make_wait(stream, event);
  } else if (event.marker != nullptr) {
    stream.wait_for(event.marker);
  }
  return CudaStatus::success;
}

CudaStatus query(FakeEvent& event) {
  const std::lock_guard lock(event.mutex);
  if (event.capture != nullptr) return kCapturedEvent;
  const bool passed = event.marker == nullptr || event.marker->passed.load(std::memory_order_acquire);
  return passed ? CudaStatus::success : CudaStatus::not_ready;
}

}  // namespace lockstep::test
