// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/comm/gpu.hpp"
#include "lockstep/monitor/progress.hpp"
#include "lockstep/runtime/runtime.hpp"
#include "participant.hpp"
#include "run_folder.hpp"

namespace lockstep {

class Runtime::Impl {
 public:
  Impl(Communicator world, const RuntimeOptions& options);

  [[nodiscard]] bool is_root() const noexcept { return world.rank() == 0; }
  [[nodiscard]] Range owned_micro_batches() const;
  [[nodiscard]] ReduceOrder reduce_order() const;
  [[nodiscard]] bool stop_requested() const noexcept;
  // Collective. From here on this rank's modules belong on `given`.
  void use_gpu(Gpu given);
  // Collective. For the memory of a module whose tensors are on `device`. Throws UsageError if that is neither the CPU
  // nor this rank's GPU.
  [[nodiscard]] std::shared_ptr<Communicator> communicator_for(at::Device device, const std::string& name);
  // Local. Throws what a call on a GPU has failed of by now: nobody waits for those, and what they left in memory is
  // not to be kept.
  void check_device_calls();
  void say(const std::string& line);  // rank 0: to standard output, past the progress bar

  Communicator world;
  RuntimeOptions options;
  std::optional<Gpu> gpu;  // none: this rank computes on the CPU
  GpuTransportChoice transport;
  std::vector<std::shared_ptr<Communicator>> gpu_communicators;  // to be closed
  std::map<std::string, std::string> must_equal;  // name to TOML text of the options that may not change at resume
  std::string resolved_config;                    // TOML
  Logger log;
  monitor::Progress progress;
  bool listens_to_signals = false;
  int micro_batches = 1;  // M
  DeterminismRecord determinism;
  std::optional<RunFolder> folder;  // none in a program that only embeds us
  std::vector<StepParticipant*> participants;
  bool loop_active = false;
  std::vector<std::pair<std::string, double>> results;
  std::string parameters_sha256;
  std::int64_t final_step = 0;
};

}  // namespace lockstep
