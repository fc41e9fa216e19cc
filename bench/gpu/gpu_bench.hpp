// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gpu/device.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/gpu.hpp"

// What the benches of GPUs share. Each prints lines of JSON; where there is no GPU, one line that says why.
namespace lockstep::bench {

using Clock = std::chrono::steady_clock;

inline void print(const nlohmann::json& line) {
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// GPU number `choose_index()`, or none, and then the line has been printed.
template <class ChooseIndex>
std::optional<Gpu> open_gpu(const std::string& bench, ChooseIndex choose_index) {
  try {
    return Gpu::open(choose_index());
  } catch (const Error& error) {
    std::string why = error.what();
    std::replace(why.begin(), why.end(), '\n', ' ');
    print({{"bench", bench}, {"skipped", why}});
    return std::nullopt;
  }
}

inline std::optional<Gpu> open_gpu(const std::string& bench) {
  return open_gpu(bench, [] { return 0; });
}

inline c10::Device device_of(const Gpu& gpu) {
  return {gpu.device()->libraries().device_type, static_cast<c10::DeviceIndex>(gpu.index())};
}

inline void wait_for(c10::Device device) {
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Of `rounds` times: the seconds one of `calls` queued calls took the device, the host's share included if it is
// longer.
template <class Call>
std::vector<double> time_on_device(c10::Device device, int rounds, int calls, Call call) {
  for (int i = 0; i < calls; ++i) call();
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    wait_for(device);
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    wait_for(device);
    seconds.push_back(seconds_since(start) / calls);
  }
  return seconds;
}

}  // namespace lockstep::bench
