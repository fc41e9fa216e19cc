// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <vector>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

spdlog::level::level_enum native(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// "[prefix] " as part of a spdlog pattern.
std::string bracketed(const std::string& prefix) {
  if (prefix.empty()) return {};
  std::string text = "[";
  for (const char c : prefix) text += c == '%' ? "%%" : std::string(1, c);
  return text + "] ";
}

// "warning: " and "error: "; nothing for the levels that need no attention.
class Attention : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& line) override {
    const std::string_view text = message.level == spdlog::level::err    ? "error: "
                                  : message.level == spdlog::level::warn ? "warning: "
                                                                         : "";
    line.append(text.data(), text.data() + text.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<Attention>(); }
};

spdlog::sink_ptr console_sink(const LogOptions& options) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<Attention>('*').set_pattern("%*" + bracketed(options.prefix) + "%v");
  sink->set_formatter(std::move(formatter));
  sink->set_level(native(options.console_level));
  return sink;
}

spdlog::sink_ptr file_sink(const LogOptions& options) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %L " + bracketed(options.prefix) + "%v");
    return sink;
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError({.what = "log file " + options.file, .why = error.what()});
  }
}

std::vector<spdlog::sink_ptr> make_sinks(const LogOptions& options) {
  std::vector<spdlog::sink_ptr> sinks;
  if (options.console) sinks.push_back(console_sink(options));
  if (!options.file.empty()) sinks.push_back(file_sink(options));
  return sinks;
}

}  // namespace

// Not registered with spdlog: two loggers in a process, as with ranks that are threads, stay apart.
struct Logger::Impl {
  explicit Impl(const std::vector<spdlog::sink_ptr>& sinks) : logger("lockstep", sinks.begin(), sinks.end()) {
    logger.set_level(spdlog::level::debug);
    logger.flush_on(spdlog::level::debug);
  }
  void write(LogLevel level, std::string_view line) { logger.log(native(level), line); }

  spdlog::logger logger;
};

Logger::Logger(const LogOptions& options) : impl_(std::make_unique<Impl>(make_sinks(options))) {}
Logger::Logger(Logger&&) noexcept = default;
Logger& Logger::operator=(Logger&&) noexcept = default;
Logger::~Logger() = default;

void Logger::debug(std::string_view line) { impl_->write(LogLevel::debug, line); }
void Logger::info(std::string_view line) { impl_->write(LogLevel::info, line); }
void Logger::warning(std::string_view line) { impl_->write(LogLevel::warning, line); }
void Logger::error(std::string_view line) { impl_->write(LogLevel::error, line); }

}  // namespace lockstep
