// SPDX-License-Identifier: Apache-2.0
#include "lockstep/monitor/metrics_file.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep::monitor {
namespace {

using Json = nlohmann::ordered_json;

IoError io_error(std::string_view operation, const std::filesystem::path& path, const std::error_code& code) {
  return IoError({.what = fmt::format("{} {}", operation, path.string()),
                  .why = fmt::format("{} (errno {})", code.message(), code.value())});
}

std::error_code last_error() { return {errno, std::generic_category()}; }

std::optional<std::int64_t> step_of(std::string_view line) {
  const auto json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  return json["step"].get<std::int64_t>();
}

// Bytes of the whole lines up to `resumed_step`. Steps only grow, so what follows the first other line goes too.
std::size_t kept_bytes(std::string_view text, std::int64_t resumed_step) {
  std::size_t kept = 0;
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', kept)) {
    const auto step = step_of(text.substr(kept, end - kept));
    if (!step || *step > resumed_step) break;
    kept = end + 1;
  }
  return kept;
}

// JSON writes every integer of this size exactly as a double holds it.
bool is_integral(double value) { return std::trunc(value) == value && std::abs(value) < 9007199254740992.0; }

std::string to_line(const Metrics& metrics) {
  Json json{{"step", metrics.step}};
  for (const auto& [name, value] : metrics.values) {
    if (is_integral(value)) {
      json[name] = static_cast<std::int64_t>(value);
    } else {
      json[name] = value;
    }
  }
  return json.dump() + "\n";
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t resumed_step) : path_(path) {
  std::error_code code;
  if (std::filesystem::exists(path, code)) {
    std::filesystem::resize_file(path, kept_bytes(read_file(path), resumed_step), code);
    if (code) throw io_error("cut", path, code);
  }
  file_ = std::fopen(path.c_str(), "ae");
  if (file_ == nullptr) throw io_error("open", path, last_error());
}

MetricsFile::~MetricsFile() { std::fclose(file_); }

void MetricsFile::write(const Metrics& metrics) {
  const auto line = to_line(metrics);
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    throw io_error("write", path_, last_error());
  }
}

}  // namespace lockstep::monitor
