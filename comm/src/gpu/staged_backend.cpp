// SPDX-License-Identifier: Apache-2.0
#include "staged_backend.hpp"

#include <thread>
#include <utility>

#include "native_error.hpp"
#include "staged_operation.hpp"

namespace lockstep::comm::gpu {
namespace {

// Nobody wakes the host when a copy is done, and most take less than this.
constexpr auto kAwake = std::chrono::milliseconds(10);

class StagedBackend final : public Backend {
 public:
  StagedBackend(std::shared_ptr<Device> device, std::unique_ptr<Backend> host, std::size_t piece_bytes)
      : parts_{.device = std::move(device), .host = std::move(host), .piece_bytes = piece_bytes} {
    check(cuda(), cuda().create_stream(parts_.stream), "cudaStreamCreateWithPriority");
  }
  StagedBackend(const StagedBackend&) = delete;
  StagedBackend& operator=(const StagedBackend&) = delete;
  ~StagedBackend() override { static_cast<void>(cuda().destroy_stream(parts_.stream)); }

  [[nodiscard]] std::string_view name() const noexcept override { return "staged"; }
  [[nodiscard]] int rank() const noexcept override { return parts_.host->rank(); }
  [[nodiscard]] int world_size() const noexcept override { return parts_.host->world_size(); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return parts_.host->peers(); }
  [[nodiscard]] int memory() const noexcept override { return parts_.device->memory(); }

  [[nodiscard]] OperationPtr start(const Request& request) override {
    if (cuda().capturing(cuda().current_stream(parts_.device->index()))) {
      throw BackendFailure{{.why = "a CUDA graph cannot hold a call that goes through the host",
                            .fix = "train without CUDA graphs where NCCL cannot be used (docs/gpus.md)"}};
    }
    auto* const operation = new StagedOperation(parts_, request);
    OperationPtr owner(operation);
    operation->begin_if_first();
    return owner;
  }

  void idle(std::chrono::nanoseconds waited) override {
    const bool soon = std::exchange(parts_.awaits_copy, false) && waited < kAwake;
    if (soon || !parts_.may_call_host()) return std::this_thread::yield();
    parts_.host->idle(waited);
  }

  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    return parts_.device->allocate(bytes);
  }

  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override {
    return over(parts_.host->split(color, key));
  }
  [[nodiscard]] std::unique_ptr<Backend> shrink(std::chrono::milliseconds timeout) override {
    return over(parts_.host->shrink(timeout));
  }

  // On another thread than the host's backend allows, the peers have their deadlines.
  void fail(const Failure& failure) noexcept override {
    if (parts_.may_call_host()) parts_.host->fail(failure);
  }
  [[nodiscard]] bool claim_first_failure() noexcept override { return parts_.host->claim_first_failure(); }
  void close() override { parts_.host->close(); }

 private:
  [[nodiscard]] CudaApi& cuda() const { return parts_.device->cuda(); }
  [[nodiscard]] std::unique_ptr<Backend> over(std::unique_ptr<Backend> host) const {
    if (!host) return nullptr;
    return std::make_unique<StagedBackend>(parts_.device, std::move(host), parts_.piece_bytes);
  }

  StagedParts parts_;
};

}  // namespace

std::unique_ptr<Backend> make_staged_backend(std::shared_ptr<Device> device, std::unique_ptr<Backend> host,
                                             std::size_t piece_bytes) {
  return std::make_unique<StagedBackend>(std::move(device), std::move(host), piece_bytes);
}

}  // namespace lockstep::comm::gpu
