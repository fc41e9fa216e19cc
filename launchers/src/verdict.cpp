// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string_view>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

constexpr int kSignalBase = 128;  // a shell's exit status of a process that signal n killed is 128 + n
constexpr int kSaved = static_cast<int>(ExitCode::saved);

// The program has printed the whole of it: here one line that fits a terminal, and the rank only once.
std::string in_short(std::string_view cause) {
  constexpr std::size_t kMost = 200;
  cause = cause.substr(0, cause.find('\n'));
  if (const auto end = cause.find("] "); cause.starts_with("[rank ") && end != std::string_view::npos) {
    cause.remove_prefix(end + 2);
  }
  if (cause.size() <= kMost) return std::string(cause);
  auto length = kMost;
  while (length > 0 && (static_cast<unsigned char>(cause[length]) & 0xC0U) == 0x80U)
    --length;  // not inside a UTF-8 letter
  return std::string(cause.substr(0, length)) + "…";
}

std::string with_signal(int status) {
  const int signal = status - kSignalBase;
  auto text = fmt::format("was killed by signal {} ({})", signal, strsignal(signal));
  if (signal == SIGKILL) text += "; if nobody sent it, the host ran out of memory: see dmesg";
  return text;
}

// "rank 1", or "one of the ranks 1, 2": those that left no record, among which the killed one is.
std::string without_record(const std::vector<ExitRecord>& records, int ranks) {
  std::vector<int> silent;
  for (int rank = 0; rank < ranks; ++rank) {
    if (std::ranges::find(records, rank, &ExitRecord::rank) == records.end()) silent.push_back(rank);
  }
  if (silent.size() == 1) return fmt::format("rank {}", silent.front());
  if (silent.empty()) return "while all ranks were leaving (MPI_Finalize), their work done, one of them";
  if (static_cast<int>(silent.size()) == ranks) return "a rank";
  return fmt::format("one of the ranks {}", fmt::join(silent, ", "));
}

Verdict died(const std::string& who, int status) {
  if (status > kSignalBase) return {status, fmt::format("{} {}", who, with_signal(status))};
  return {status == 0 ? static_cast<int>(ExitCode::internal) : status,
          fmt::format("{} ended without saying why; the job's status is {}", who, status)};
}

Verdict without_cause(const JobEnd& end, const std::vector<ExitRecord>& records, int ranks) {
  const int status = end.status;
  if (end.rank >= 0 && status > kSignalBase) return died(fmt::format("rank {}", end.rank), status);
  if (end.rank >= 0) {
    return {status, fmt::format("rank {} ended with status {} and left no record of why: see what the program printed",
                                end.rank, status)};
  }
  const std::string hint = "run the mpirun line above without -q for Open MPI's own messages";
  const auto missing = ranks - static_cast<int>(records.size());
  if (status > kSignalBase || missing == 0) {
    Verdict verdict = died(without_record(records, ranks), status);
    if (missing != 1) verdict.text += ". To learn which, " + hint;
    return verdict;
  }
  return {status,
          fmt::format("the job ended with status {} and no rank left a record of why. If the program printed no "
                      "reason, {}",
                      status, hint)};
}

}  // namespace

Verdict judge(const JobEnd& end, const std::vector<ExitRecord>& records, int ranks) {
  if (end.killed) return {kSignalBase + end.stop_signal, "the job was ended without a checkpoint, as asked"};
  const bool some_saved = std::ranges::find(records, kSaved, &ExitRecord::code) != records.end();
  auto failed = records;
  std::erase_if(failed, [](const ExitRecord& record) { return record.code == kSaved; });
  const ExitRecord* const cause = first_cause(failed);
  if (cause != nullptr) {
    if (cause->died_rank >= 0) return died(fmt::format("rank {}", cause->died_rank), end.status);
    return {cause->code,
            fmt::format("first cause: rank {} ({}): {}", cause->rank, cause->host, in_short(cause->cause))};
  }
  if (end.status == 0) return {};
  if (end.status == kSaved) return {kSaved, some_saved ? "saved; start it again to go on" : ""};
  if (end.stop_signal != 0 && end.status == kSignalBase + SIGUSR1) {
    return {kSignalBase + end.stop_signal, "the job was stopped before it could save"};
  }
  return without_cause(end, records, ranks);
}

}  // namespace lockstep::launchers
