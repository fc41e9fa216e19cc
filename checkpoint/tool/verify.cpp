// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "commands.hpp"
#include "failure.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/monitor/progress.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {
namespace {

namespace fs = std::filesystem;

// A bar on standard error, where that is a terminal, drawn from another thread while this lives.
class ReadProgress {
 public:
  explicit ReadProgress(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
    if (::isatty(STDERR_FILENO) == 0) return;
    thread_.emplace([this](const std::stop_token& stop) { draw(stop); });
    ::pthread_setname_np(thread_->native_handle(), "lockstep-bar");
  }

 private:
  void draw(const std::stop_token& stop) {
    constexpr double kMegabyte = 1e6;
    monitor::Progress bar(true);
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      bar.update(
          {.task = "verify",
           .unit = "MB",
           .step = std::llround(static_cast<double>(checkpoint_.bytes_read()) / kMegabyte),
           .total_steps = std::max<std::int64_t>(1, std::llround(static_cast<double>(checkpoint_.bytes()) / kMegabyte)),
           .loss = std::nan("")});
      woken.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
    }
  }

  const Checkpoint& checkpoint_;
  std::optional<std::jthread> thread_;
};

// One line for each damaged file: a first look ends at the first damage.
Json damage_of(const Checkpoint& checkpoint) {
  Json damage = Json::array();
  for (std::size_t file = 0; file < checkpoint.files(); ++file) {
    try {
      checkpoint.verify_file(file);
    } catch (const CannotLook&) {
      throw;
    } catch (const CheckpointError& error) {
      damage.push_back(error.what());
    }
  }
  return damage;
}

Json verify_checkpoint(const fs::path& path, int threads) {
  Json result{{"path", path.string()}, {"bytes", 0}, {"damage", Json::array()}};
  std::optional<Checkpoint> checkpoint;
  try {
    checkpoint = Checkpoint::open(path);
    result["bytes"] = checkpoint->bytes();
    const ReadProgress progress(*checkpoint);
    checkpoint->verify(threads);
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError& error) {
    if (checkpoint) result["damage"] = damage_of(*checkpoint);
    if (result["damage"].empty()) result["damage"].push_back(error.what());
  }
  return result;
}

}  // namespace

int verify(const std::string& given, int threads, bool json) {
  std::vector<fs::path> paths;
  if (const auto path = as_checkpoint(given); path && fs::is_directory(*path)) {
    paths.push_back(*path);
  } else {
    const fs::path folder = checkpoints_folder(given);
    for (const std::int64_t step : list_checkpoints(folder)) paths.push_back(checkpoint_path(folder, step));
    if (paths.empty()) {
      throw UsageError({.what = given, .why = "there is no checkpoint in it", .fix = "give another folder"});
    }
  }
  const auto start = std::chrono::steady_clock::now();
  Json checkpoints = Json::array();
  double bytes = 0.0;
  int damaged = 0;
  for (const auto& path : paths) {
    checkpoints.push_back(verify_checkpoint(path, threads));
    bytes += checkpoints.back()["bytes"].get<double>();
    damaged += checkpoints.back()["damage"].empty() ? 0 : 1;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (json) {
    print({{"checkpoints", checkpoints}, {"damaged", damaged}, {"bytes", bytes}, {"seconds", seconds}});
  } else {
    for (const auto& checkpoint : checkpoints) {
      for (const auto& line : checkpoint["damage"]) fmt::print("damaged: {}\n", line.get<std::string>());
    }
    fmt::print("{} checkpoints, {} damaged; {} in {:.2f} s, {:.2f} GB/s\n", paths.size(), damaged,
               monitor::bytes_text(bytes), seconds, bytes / seconds / 1e9);
  }
  return damaged == 0 ? 0 : kDiffers;
}

}  // namespace lockstep::tool
