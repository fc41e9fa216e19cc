// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "device.hpp"
#include "lockstep/comm/backend.hpp"
#include "watchdog.hpp"

namespace lockstep::comm::gpu {

// What goes to another rank, or comes from it.
struct Transfer {
  Kind kind = Kind::send;       // or receive
  std::byte* memory = nullptr;  // only read by a send
  std::int64_t elements = 0;
  DType dtype = DType::uint8;
  int peer = 0;
};

// One rank's stream of one NCCL communicator, and who watches what is queued on it. All throw BackendFailure.
class NcclLane {
 public:
  // `pulse_is_ours`: the thread that makes this drives the pulse of `watched`. `ranks` outlives this.
  NcclLane(std::shared_ptr<Device> device, std::shared_ptr<WatchedComm> watched, bool pulse_is_ours,
           const Backend& ranks);
  NcclLane(const NcclLane&) = delete;
  NcclLane& operator=(const NcclLane&) = delete;
  ~NcclLane();

  // A call begins: what comes now is queued behind what this thread's current stream holds. The peers are told.
  void begin(const Request& request);
  void note(const Call& call);  // counts it and tells the peers, no more
  // It ends: whoever waits for the event comes after all that is queued so far.
  [[nodiscard]] std::shared_ptr<EventHandle> mark();
  // Gives it to the watchdog.
  void watch(const Call& call, std::string_view label, std::chrono::milliseconds timeout,
             const std::shared_ptr<EventHandle>& done);

  // What is called between begin() and mark(). NCCL must take all of `call` before `timeout` has passed from here on.
  void allow(const Call& call, std::chrono::milliseconds timeout);
  void settle(NcclStatus status, const char* call);    // returns when NCCL has taken it
  void exchange(std::span<const Transfer> transfers);  // as one group; none with this rank itself
  void copy(void* to, const void* from, std::size_t bytes);
  // One NCCL group of what `calls()` queues.
  template <class Calls>
  void together(const Calls& calls) {
    check_nccl(nccl().group_start(), "ncclGroupStart");
    OpenGroup open{nccl()};
    calls();
    open.nccl = nullptr;
    settle(nccl().group_end(), "ncclGroupEnd");
  }
  void check_nccl(NcclStatus status, const char* call) const;
  void check_cuda(CudaStatus status, const char* call) const;

  [[nodiscard]] bool capturing() const;  // the calling thread's current stream
  void join_caller(EventHandle* done) const;
  // Whether `done` has come; asks for the oldest alone in each pass over all calls, which have one `slice_end`.
  [[nodiscard]] bool is_done(std::uint64_t serial, std::uint64_t number, EventHandle* done,
                             Clock::time_point slice_end);
  [[nodiscard]] bool is_idle() const;  // all that was queued is done
  void listen();                       // to the peers, where this thread has to

  [[nodiscard]] CudaApi& cuda() const noexcept { return device_->cuda(); }
  [[nodiscard]] NcclApi& nccl() const noexcept { return *device_->nccl(); }
  [[nodiscard]] NcclComm comm() const noexcept { return watched_->comm(); }
  [[nodiscard]] Stream stream() const noexcept { return stream_; }
  [[nodiscard]] WatchedComm& watched() const noexcept { return *watched_; }
  [[nodiscard]] Device& device() const noexcept { return *device_; }
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int world_size() const noexcept { return world_size_; }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }   // of the newest collective, from 1 on
  [[nodiscard]] std::uint64_t next_serial() noexcept { return ++serial_; }  // of all calls

 private:
  struct OpenGroup {  // closes it if a call in it throws
    NcclApi* nccl;
    explicit OpenGroup(NcclApi& api) : nccl(&api) {}
    OpenGroup(const OpenGroup&) = delete;
    OpenGroup& operator=(const OpenGroup&) = delete;
    ~OpenGroup() {
      if (nccl != nullptr) (void)nccl->group_end();
    }
  };
  static constexpr std::chrono::milliseconds kListenPeriod{1};

  [[noreturn]] void throw_late(const char* call) const;

  std::shared_ptr<Device> device_;
  std::shared_ptr<WatchedComm> watched_;
  bool pulse_is_ours_;
  std::thread::id maker_ = std::this_thread::get_id();
  const std::vector<Peer>& peers_;
  int rank_, world_size_;
  Stream stream_ = nullptr;
  std::uint64_t number_ = 0, serial_ = 0;
  std::chrono::milliseconds timeout_{};
  Call newest_{};
  std::shared_ptr<EventHandle> newest_done_{};
  Clock::time_point begun_{}, listened_{};
  Clock::time_point pass_{};           // the newest pass, …
  std::uint64_t pass_stopped_at_ = 0;  // … and the call that it found not done
};

}  // namespace lockstep::comm::gpu
