// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::monitor {

// Numbers of one logged step, in the order in which they are written.
struct Metrics {
  std::int64_t step = 0;
  std::vector<std::pair<std::string, double>> values;
};

// metrics.jsonl: one JSON object a line, "step" first. Non-finite numbers are written as null, because JSON has none.
// Integral values are written without a fraction.
class MetricsFile {
 public:
  // Opens `path` for appending and cuts off the lines whose step is greater than `resumed_step` (a torn last line too),
  // so that a resumed run does not repeat steps. Throws IoError.
  MetricsFile(const std::filesystem::path& path, std::int64_t resumed_step);
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;
  ~MetricsFile();

  void write(const Metrics& metrics);  // flushed, so that a killed process keeps the line. Throws IoError.

 private:
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace lockstep::monitor
