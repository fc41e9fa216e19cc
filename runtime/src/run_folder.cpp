// SPDX-License-Identifier: Apache-2.0
#include "run_folder.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <system_error>

#include "lockstep/base/error.hpp"
#include "lockstep/base/version.hpp"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw IoError({.what = "run folder " + path.string(),
                   .why = "it cannot be made: " + error.message(),
                   .fix = "choose another one with run.dir=FOLDER"});
  }
}

Json read_record(const fs::path& path) {
  try {
    return Json::parse(read_file(path));
  } catch (const Json::exception& error) {
    throw IoError({.what = path.string(),
                   .why = fmt::format("it is not the record of a run: {}", error.what()),
                   .fix = "restore it, or choose another run.dir"});
  }
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json to_json(const DeterminismRecord& record) {
  return {{"micro_batches", record.micro_batches},
          {"intra_op_threads", record.intra_op_threads},
          {"libtorch", record.libtorch},
          {"cpu_capability", record.cpu_capability},
          {"device", record.device}};
}

}  // namespace

void RunFolder::open() {
  make_folder(path_ / "logs");
  make_folder(checkpoints());
  lock_ = FileLock::try_lock(path_ / "lock", fmt::format("process {}", getpid()));
  if (!lock_.held()) {
    throw UsageError({.what = "run folder " + path_.string(),
                      .why = fmt::format("another job is using it ({})", lock_.other_holder()),
                      .fix = "wait for that job, or choose another folder with run.dir=FOLDER"});
  }
}

int RunFolder::stored_micro_batches() const {
  const fs::path path = path_ / "run.json";
  if (!fs::exists(path)) return 0;
  const Json record = read_record(path);
  try {
    return record.at("determinism").at("micro_batches").get<int>();
  } catch (const Json::exception& error) {
    throw IoError({.what = path.string(),
                   .why = fmt::format("determinism.micro_batches is missing: {}", error.what()),
                   .fix = "restore it, or choose another run.dir"});
  }
}

const std::string& RunFolder::id() {
  if (!id_.empty()) return id_;
  const fs::path path = path_ / "run.json";
  if (fs::exists(path)) id_ = read_record(path).value("id", "");
  std::random_device random;
  if (id_.empty()) id_ = fmt::format("{:08x}{:08x}", random(), random());
  return id_;
}

void RunFolder::record_start(const Start& start) {
  const fs::path path = path_ / "run.json";
  Json record = fs::exists(path) ? read_record(path) : Json::object();
  record["schema_version"] = 1;
  record["id"] = id();
  record["lockstep"] = std::string(version());
  record["backend"] = start.backend;
  record["world_size"] = start.ranks.size();
  record["determinism"] = to_json(start.determinism);
  record["ranks"] = Json::array();
  for (std::size_t rank = 0; rank < start.ranks.size(); ++rank) {
    record["ranks"].push_back({{"rank", rank}, {"host", start.ranks[rank].host}, {"pid", start.ranks[rank].pid}});
  }
  record["starts"].push_back({{"time", unix_seconds()},
                              {"from_step", start.from_step},
                              {"world_size", start.ranks.size()},
                              {"changes", start.changes}});
  record.erase("final");
  write_file_durably(path_ / "config.toml", start.config);
  write_file_durably(path, record.dump(2) + "\n");
}

void RunFolder::record_final(const std::vector<std::pair<std::string, double>>& results,
                             const std::string& parameters_sha256, std::int64_t step) {
  const fs::path path = path_ / "run.json";
  Json record = read_record(path);
  Json& last = record["final"] = {{"step", step}, {"parameters_sha256", parameters_sha256}};
  for (const auto& [name, value] : results) last[name] = value;
  write_file_durably(path, record.dump(2) + "\n");
}

fs::path RunFolder::log_of(int rank) const { return path_ / "logs" / fmt::format("rank-{}.log", rank); }

}  // namespace lockstep
