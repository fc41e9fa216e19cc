// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/exit_record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t now_nanoseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::string to_json(const ExitRecord& record) {
  const Json json{{"rank", record.rank},           {"world_size", record.world_size},
                  {"host", record.host},           {"pid", record.pid},
                  {"code", record.code},           {"cause", record.cause},
                  {"died_rank", record.died_rank}, {"time_nanoseconds", record.time_nanoseconds}};
  // A cause may quote bytes that are no UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

ExitRecord from_json(const Json& json) {
  return {.rank = json.at("rank").get<int>(),
          .world_size = json.at("world_size").get<int>(),
          .host = json.at("host").get<std::string>(),
          .pid = json.at("pid").get<std::int64_t>(),
          .code = json.at("code").get<int>(),
          .cause = json.at("cause").get<std::string>(),
          .died_rank = json.at("died_rank").get<int>(),
          .time_nanoseconds = json.at("time_nanoseconds").get<std::int64_t>()};
}

bool is_cause(const ExitRecord& record) noexcept { return record.code > static_cast<int>(ExitCode::victim); }

bool explains_better(const ExitRecord& left, const ExitRecord& right) noexcept {
  if (is_cause(left) != is_cause(right)) return is_cause(left);
  return left.time_nanoseconds < right.time_nanoseconds;
}

}  // namespace

void write_exit_record(const std::filesystem::path& folder, ExitRecord record) noexcept {
  try {
    if (record.time_nanoseconds == 0) record.time_nanoseconds = now_nanoseconds();
    write_file_durably(folder / fmt::format("exit-{}.json", record.rank), to_json(record));
  } catch (const std::exception&) {
    // The launcher then has no record of this rank and says so; a dying process has nobody else to tell.
  }
}

std::vector<ExitRecord> read_exit_records(const std::filesystem::path& folder) {
  std::vector<ExitRecord> records;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with("exit-") || !name.ends_with(".json")) continue;
    try {
      records.push_back(from_json(Json::parse(read_file(entry.path()))));
    } catch (const std::exception&) {
      // Left out, as the header says: the others may still explain the failure.
    }
  }
  std::ranges::sort(records, {}, &ExitRecord::rank);
  return records;
}

const ExitRecord* first_cause(const std::vector<ExitRecord>& records) noexcept {
  const ExitRecord* first = nullptr;
  for (const auto& record : records) {
    if (record.code == static_cast<int>(ExitCode::done)) continue;
    if (first == nullptr || explains_better(record, *first)) first = &record;
  }
  return first;
}

}  // namespace lockstep
