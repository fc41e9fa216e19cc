// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace lockstep {

enum class LogLevel { debug, info, warning, error };

struct LogOptions {
  std::string file{};   // appended to; empty: none. All levels go there.
  bool console = true;  // also to standard error, from console_level on
  LogLevel console_level = LogLevel::info;
  std::string prefix{};  // printed in brackets before each line: "rank 0/2 host"
};

// Writes lines with time, level and prefix. Thread-safe. Each line is flushed, so that a killed process keeps them.
class Logger {
 public:
  explicit Logger(const LogOptions& options = {});  // Throws IoError if the file cannot be opened.
  Logger(Logger&&) noexcept;
  Logger& operator=(Logger&&) noexcept;
  ~Logger();

  void debug(std::string_view line);
  void info(std::string_view line);
  void warning(std::string_view line);
  void error(std::string_view line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
