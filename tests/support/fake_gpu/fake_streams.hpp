// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "gpu/cuda_api.hpp"

// Streams and events without a device. Threads hand each other work by atomics alone, in one direction: a lock would
// order what nothing else orders, and ThreadSanitizer would not see that a wait is missing.
namespace lockstep::test {

using Task = std::function<void()>;
// Makes the task each time that it is queued: a CUDA graph queues it again and again.
using Launch = std::function<Task()>;

// Returns when `condition` holds; takes no lock.
template <class Condition>
void wait_until(const Condition& condition) {
  for (int i = 0; !condition(); ++i) {
    if (i < 20) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
}

// A place in a stream. Never freed before the rank: a count of references would order threads too.
struct Marker {
  std::atomic<bool> passed{false};
};

// What the streams of a rank share.
struct StreamControl {
  std::atomic<bool> held{false}, stopping{false};
  Marker* make_marker();

 private:
  std::mutex mutex_;
  std::deque<Marker> markers_;  // guarded by mutex_
};

class Capture;

class FakeStream {
 public:
  enum class Runs { on_own_thread, on_caller };
  FakeStream(StreamControl& control, Runs runs);
  FakeStream(const FakeStream&) = delete;
  FakeStream& operator=(const FakeStream&) = delete;
  ~FakeStream();  // `control` is stopping

  void queue(const Launch& launch);  // into the capture, if there is one
  void run(Task task);               // behind what runs, whether it captures or not
  Marker* mark();
  void wait_for(const Marker* marker);

  [[nodiscard]] StreamControl& control() const noexcept { return control_; }
  [[nodiscard]] Capture* capture() const noexcept { return capture_.load(); }
  void set_capture(Capture* capture) noexcept { capture_.store(capture); }

 private:
  struct Node {
    Task task{};
    std::atomic<Node*> next{nullptr};
  };
  void loop();
  StreamControl& control_;
  const Runs runs_;
  std::atomic<Capture*> capture_{nullptr};
  std::mutex producers_;
  Node* last_;   // guarded by producers_
  Node* first_;  // of the thread: done, its successor comes next
  std::counting_semaphore<> queued_{0};
  std::thread thread_;
};

// Which steps of a capture come before a place in it: by stream, the last of its steps.
using StepsBefore = std::map<const FakeStream*, std::size_t>;

struct FakeEvent {
  std::mutex mutex;
  Marker* marker = nullptr;    // of the last record outside captures
  Capture* capture = nullptr;  // of the last record, if that was inside one
  std::size_t captured = 0;    // which record of the capture
  StepsBefore before{};
};

// What was queued on a stream, and on those that joined it by events, while it was captured.
class Capture {
 public:
  explicit Capture(FakeStream& origin);
  void launch(FakeStream& stream, Launch launch);
  void record(FakeStream& stream, FakeEvent& event);
  void make_wait(FakeStream& stream, const FakeEvent& event);
  [[nodiscard]] bool end();  // false: a stream was not joined to the origin again
  void replay(FakeStream& current);

 private:
  enum class Kind { launch, record, wait };
  struct Step {
    Kind kind;
    FakeStream* stream;
    Launch launch;
    std::size_t event;
  };
  void add(Step step);
  std::mutex mutex_;
  FakeStream* origin_;
  std::vector<Step> steps_;
  std::size_t records_ = 0;
  std::map<FakeStream*, StepsBefore> before_;  // by stream that takes part
  std::map<const FakeStream*, std::size_t> last_launch_;
  std::map<FakeStream*, std::unique_ptr<FakeStream>> branches_;  // that replay the other streams
};

[[nodiscard]] comm::gpu::CudaStatus record(FakeEvent& event, FakeStream& stream);
[[nodiscard]] comm::gpu::CudaStatus make_wait(FakeStream& stream, FakeEvent& event);
[[nodiscard]] comm::gpu::CudaStatus query(FakeEvent& event);

// cudaError_t's own numbers.
inline constexpr comm::gpu::CudaStatus kInvalidValue{1};
inline constexpr comm::gpu::CudaStatus kOutOfMemory{2};
inline constexpr comm::gpu::CudaStatus kInvalidDevice{101};
inline constexpr comm::gpu::CudaStatus kNotSupported{801};
inline constexpr comm::gpu::CudaStatus kCaptureUnsupported{900};
inline constexpr comm::gpu::CudaStatus kCaptureIsolation{905};
inline constexpr comm::gpu::CudaStatus kCapturedEvent{907};

}  // namespace lockstep::test
