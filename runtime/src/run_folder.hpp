// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep {

// Where a run keeps everything: config.toml, run.json, metrics.jsonl, logs/, checkpoints/, flight/. The functions that
// write are rank 0's; the others only ask for paths.
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  // Makes the folders and takes the lock that keeps a second job out. Throws UsageError naming who holds it, or
  // IoError.
  void open();
  // M as an earlier start of this run wrote it; 0 if there was none. Throws IoError if run.json cannot be understood.
  [[nodiscard]] int stored_micro_batches() const;

  // What this run is known by, unlike any other, also one that was in this folder before; made at its first start. The
  // same until record_start() has kept it. Throws as stored_micro_batches().
  [[nodiscard]] const std::string& id();

  struct Start {
    std::vector<comm::Peer> ranks;
    DeterminismRecord determinism;
    std::string backend;
    std::string config;                // TOML
    std::int64_t from_step = 0;        // 0: a new run
    std::vector<std::string> changes;  // options that differ from the checkpoint's: "train.lr: 0.05 -> 0.1"
  };
  void record_start(const Start& start);  // config.toml and run.json
  void record_final(const std::vector<std::pair<std::string, double>>& results, const std::string& parameters_sha256,
                    std::int64_t step);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  [[nodiscard]] std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  [[nodiscard]] std::filesystem::path flight() const { return path_ / "flight"; }
  [[nodiscard]] std::filesystem::path log_of(int rank) const;

 private:
  std::filesystem::path path_;
  FileLock lock_;
  std::string id_;
};

}  // namespace lockstep
