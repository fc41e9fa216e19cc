// SPDX-License-Identifier: Apache-2.0
#include "fake_cuda.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "fake_gpu.hpp"
#include "fake_memory.hpp"
#include "gpu/reference.hpp"

namespace lockstep::test {

using comm::gpu::CudaStatus;
using comm::gpu::Event;
using comm::gpu::Stream;

namespace {

constexpr std::size_t kMemoryBytes = std::size_t{1} << 30;
constexpr std::size_t kAlignment = 256;  // cudaMalloc's

thread_local Stream current = nullptr;  // of this thread, where a test has set it
thread_local bool thread_captures = false;

Stream handle(FakeStream& stream) { return reinterpret_cast<Stream>(&stream); }
FakeEvent& fake(Event event) { return *reinterpret_cast<FakeEvent*>(event); }

}  // namespace

FakeStreamGuard::FakeStreamGuard(Stream stream) : previous_(std::exchange(current, stream)) {}
FakeStreamGuard::~FakeStreamGuard() { current = previous_; }

FakeCuda::FakeCuda(int rank)
    : facts_{.name = "Fake GPU",
             .uuid = fmt::format("GPU-fake-{}", rank),
             .multiprocessors = 4,
             .memory_bytes = kMemoryBytes},
      default_stream_(std::make_unique<FakeStream>(control_, FakeStream::Runs::on_own_thread)) {}

FakeCuda::~FakeCuda() { stop(); }

void FakeCuda::stop() {
  control_.stopping = true;
  const std::lock_guard lock(mutex_);
  streams_.clear();
  default_stream_.reset();
}

std::string FakeCuda::text(CudaStatus status) const {
  if (status == CudaStatus::success) return "cudaSuccess: no error";
  if (status == CudaStatus::not_ready) return "cudaErrorNotReady: device not ready";
  if (status == kOutOfMemory) return "cudaErrorMemoryAllocation: out of memory";
  if (status == kInvalidDevice) return "cudaErrorInvalidDevice: invalid device ordinal";
  return fmt::format("cudaError {}: fake", static_cast<int>(status));
}

CudaStatus FakeCuda::device_count(int& count) {
  count = 1;
  return CudaStatus::success;
}

CudaStatus FakeCuda::facts(int device, comm::gpu::DeviceFacts& facts) {
  if (device != 0) return kInvalidDevice;
  facts = facts_;
  return CudaStatus::success;
}

CudaStatus FakeCuda::bind(int device) { return device == 0 ? CudaStatus::success : kInvalidDevice; }

Stream FakeCuda::current_stream(int /*device*/) {
  const bool ours = current != nullptr && &test::fake(current).control() == &control_;
  return ours ? current : handle(*default_stream_);
}

CudaStatus FakeCuda::create_stream(Stream& stream) {
  const std::lock_guard lock(mutex_);
  stream = handle(*streams_.emplace_back(std::make_unique<FakeStream>(control_, FakeStream::Runs::on_own_thread)));
  return CudaStatus::success;
}

// What is queued still runs, as on a device: the stream stays until the rank ends.
CudaStatus FakeCuda::destroy_stream(Stream stream) { return stream == nullptr ? kInvalidValue : CudaStatus::success; }

bool FakeCuda::capturing(Stream stream) { return test::fake(stream).capture() != nullptr; }

CudaStatus FakeCuda::create_event(Event& event) {
  event = reinterpret_cast<Event>(new FakeEvent);
  ++events_alive_;
  return CudaStatus::success;
}

CudaStatus FakeCuda::destroy_event(Event event) {
  delete &fake(event);
  --events_alive_;
  return CudaStatus::success;
}

CudaStatus FakeCuda::record(Event event, Stream stream) { return test::record(fake(event), test::fake(stream)); }
CudaStatus FakeCuda::make_wait(Stream stream, Event event) { return test::make_wait(test::fake(stream), fake(event)); }
CudaStatus FakeCuda::query(Event event) { return test::query(fake(event)); }

CudaStatus FakeCuda::allocate(std::byte*& memory, std::size_t bytes) {
  ++host_waits_;
  if (thread_captures) return kCaptureUnsupported;
  if (fail_allocations_ || bytes > kMemoryBytes) return kOutOfMemory;
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  Block block(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
  if (!block) return kOutOfMemory;
  memory = block.get();
  std::memset(memory, 0xcd, rounded);  // a device's memory is not zeroed either
  const std::lock_guard lock(mutex_);
  blocks_.emplace(memory, std::move(block));
  return CudaStatus::success;
}

CudaStatus FakeCuda::free(std::byte* memory) {
  ++host_waits_;
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(memory);
  if (found == blocks_.end()) return kInvalidValue;
  freed_.push_back(std::move(found->second));
  blocks_.erase(found);
  return CudaStatus::success;
}

CudaStatus FakeCuda::allocate_pinned(std::byte*& memory, std::size_t bytes) { return allocate(memory, bytes); }
CudaStatus FakeCuda::free_pinned(std::byte* memory) { return free(memory); }

CudaStatus FakeCuda::copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  test::fake(stream).queue([=] { return [=] { copy_bytes(to, from, bytes); }; });
  return CudaStatus::success;
}

CudaStatus FakeCuda::fill_zero(void* memory, std::size_t bytes, Stream stream) {
  test::fake(stream).queue([=] { return [=] { zero_bytes(memory, bytes); }; });
  return CudaStatus::success;
}

// Arguments are copied in the call, as those of kernels are.
CudaStatus FakeCuda::reduce_slices(const comm::gpu::ReduceSlices& call, Stream stream) {
  if (!has_kernels_) return kNotSupported;
  if (call.combines.size() > comm::gpu::kMostInputs) return kInvalidValue;
  auto task = [call, combines = std::vector<int>(call.combines.begin(), call.combines.end())] {
    comm::gpu::ReduceSlices own = call;
    own.combines = combines;
    comm::gpu::reference_reduce_slices(own);
  };
  test::fake(stream).queue([task] { return task; });
  return CudaStatus::success;
}

CudaStatus FakeCuda::scaled_copy(std::span<const comm::gpu::ScaledCopy> copies, double scale, bool add, Stream stream) {
  if (!has_kernels_) return kNotSupported;
  auto task = [own = std::vector(copies.begin(), copies.end()), scale, add] {
    comm::gpu::reference_scaled_copy(own, scale, add);
  };
  test::fake(stream).queue([task] { return task; });
  return CudaStatus::success;
}

CudaStatus FakeCuda::unscale(const comm::gpu::Unscale& call, Stream stream) {
  if (!has_kernels_) return kNotSupported;
  auto task = [call, ranges = std::vector(call.ranges.begin(), call.ranges.end())] {
    comm::gpu::Unscale own = call;
    own.ranges = ranges;
    comm::gpu::reference_unscale(own);
  };
  test::fake(stream).queue([task] { return task; });
  return CudaStatus::success;
}

void FakeCuda::run_default_stream_on_caller() {
  default_stream_.reset();
  default_stream_ = std::make_unique<FakeStream>(control_, FakeStream::Runs::on_caller);
}

int FakeCuda::blocks_alive() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(blocks_.size());
}

bool FakeCuda::synchronize(std::chrono::milliseconds deadline) {
  std::vector<const Marker*> markers{default_stream_->mark()};
  {
    const std::lock_guard lock(mutex_);
    for (const auto& stream : streams_) markers.push_back(stream->mark());
  }
  const auto end = std::chrono::steady_clock::now() + deadline;
  const auto all_passed = [&] {
    return std::ranges::all_of(markers, [](const Marker* m) { return m->passed.load(std::memory_order_acquire); });
  };
  wait_until([&] { return all_passed() || std::chrono::steady_clock::now() > end; });
  return all_passed();
}

namespace {

class FakeGraph final : public comm::gpu::Graph {
 public:
  FakeGraph(FakeCuda& cuda, std::function<Capture&(FakeStream&)> begin) : cuda_(cuda), begin_(std::move(begin)) {}

  void begin_capture() override {
    FakeStream& stream = test::fake(cuda_.current_stream(0));
    if (&stream == &cuda_.default_stream()) throw std::runtime_error("a default stream cannot be captured");
    capture_ = &begin_(stream);
    thread_captures = true;
  }

  void end_capture() override {
    thread_captures = false;
    if (!capture_->end()) throw std::runtime_error("cudaErrorStreamCaptureUnjoined: a stream was not joined again");
  }

  void replay() override { capture_->replay(test::fake(cuda_.current_stream(0))); }

 private:
  FakeCuda& cuda_;
  std::function<Capture&(FakeStream&)> begin_;
  Capture* capture_ = nullptr;
};

}  // namespace

std::unique_ptr<comm::gpu::Graph> FakeGraphs::make_graph() {
  return std::make_unique<FakeGraph>(cuda_, [this](FakeStream& stream) -> Capture& {
    const std::lock_guard lock(mutex_);
    return captures_.emplace_back(stream);
  });
}

}  // namespace lockstep::test
