// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lockstep {

// What a process leaves with. A victim (its peer failed) leaves lower than any cause, because srun reports the highest.
enum class ExitCode : int {
  done = 0,
  victim = 1,
  usage = 2,      // bad command line, configuration or input
  internal = 70,  // a fault of the program, of lockstep or of a library
  io = 74,        // a file could not be read or written
  saved = 75,     // stopped on request with a checkpoint on disk: start again
};

// The parts of a message. Empty parts are left out; `who` is filled in by lockstep::run where the thrower cannot know
// it.
struct ErrorText {
  std::string who{};   // "rank 3/8 n07"
  std::string what{};  // the operation and its subject: "all_reduce #1412 (26214400 × float32, sum, \"world\")"
  std::string why{};   // the cause, with the native code and its text
  std::string fix{};   // one thing to do
};

// Base of everything that a public call throws. what() is "[who] what: why. Fix: fix".
class Error : public std::runtime_error {
 public:
  explicit Error(ErrorText text);
  [[nodiscard]] const ErrorText& text() const noexcept { return text_; }
  [[nodiscard]] virtual ExitCode exit_code() const noexcept { return ExitCode::internal; }

 private:
  ErrorText text_;
};

// The caller's mistake: a bad argument, option or order of calls.
class UsageError : public Error {
 public:
  using Error::Error;
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::usage; }
};

// A data set is missing, damaged or not of the expected form.
class DataError : public Error {
 public:
  using Error::Error;
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::usage; }
};

// A file could not be read or written; `why` holds errno's text.
class IoError : public Error {
 public:
  using Error::Error;
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::io; }
};

// A checkpoint could not be written, is damaged, or does not fit the program.
class CheckpointError : public Error {
 public:
  using Error::Error;
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::io; }
};

// A collective failed. After one, its communicator is failed and every later call throws the first error again.
class CommError : public Error {
 public:
  using Error::Error;
};

// A wait passed its deadline; `why` names the ranks that did not arrive.
class TimeoutError : public CommError {
 public:
  using CommError::CommError;
};

// Ranks called different collectives, or the same one with different arguments; `why` names both calls.
class MismatchError : public CommError {
 public:
  using CommError::CommError;
};

// Another rank is gone. This rank is a victim, not the cause.
class PeerDied : public CommError {
 public:
  PeerDied(ErrorText text, int rank) : CommError(std::move(text)), rank_(rank) {}
  [[nodiscard]] int rank() const noexcept { return rank_; }  // the one that is gone; −1: not known
  [[nodiscard]] ExitCode exit_code() const noexcept override { return ExitCode::victim; }

 private:
  int rank_;
};

}  // namespace lockstep
