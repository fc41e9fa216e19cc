// SPDX-License-Identifier: Apache-2.0
// usage: checkpoint_power_loss STATES
// A job of 3 ranks saves checkpoints with retention, and its calls that change files are recorded. For every prefix of
// them, disks are made as a loss of power may leave them (CrashModel), and a restart on each must find the newest
// checkpoint that had been reported durable, or a newer one, every byte right, and nothing damaged. At most STATES,
// different ones. Then models that do not believe some kind of fsync must make it fail: else nothing was tested.
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "checkpoint/crash_model.hpp"
#include "checkpoint/fault_job.hpp"
#include "checkpoint/job_state.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/hash.hpp"
#include "lockstep/base/mix.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using Believes = CrashModel::Believes;
using Rule = Fates::Rule;

constexpr int kRanks = 3;
constexpr std::int64_t kSteps = 8;
constexpr std::string_view kPromise = "durable ";

std::vector<Operation> record_job(const fs::path& root) {
  const fs::path log = root / "log";
  const fs::path disk = root / "disk";
  fs::create_directory(disk);
  const std::string mode = "record:" + log.string();
  FaultJob job{.folder = disk / "checkpoints", .ranks = kRanks, .last_step = kSteps};
  job.before_save = [&](int, std::int64_t step) {
    if (step == job.first_step) file_shim_arm(disk.c_str(), mode.c_str());
  };
  job.after_save = [](int, const SaveOutcome& outcome, RankReport&) {
    if (outcome.failure.empty()) file_shim_note((std::string(kPromise) + std::to_string(outcome.step)).c_str());
  };
  const JobEnd end = run_job(job);
  if (!end.well() || end.durable() != kSteps) {
    std::fprintf(stderr, "the recorded job failed: %s\n", end.reports[0].wrong.data());
    std::exit(1);
  }
  return read_operations(log);
}

void put_on_disk(const CrashModel::Disk& disk, const fs::path& root) {
  for (const auto& [name, bytes] : disk) {
    const fs::path path = root / name;
    if (name.ends_with('/')) {
      fs::create_directory(path);
    } else {
      const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      write_all(file.get(), bytes, path);
    }
  }
}

std::uint64_t hash_of(const CrashModel::Disk& disk) {
  std::uint64_t hash = 0;
  for (const auto& [name, bytes] : disk) {
    hash = mix_bits(hash + fnv1a(name)) + crc32c(bytes);
  }
  return hash;
}

// What a restart says of it, "" if all is well.
std::string try_disk(const CrashModel::Disk& disk, std::int64_t promised) {
  const test::TemporaryDirectory root;
  put_on_disk(disk, root.path());
  const Found found = restart(root.path() / "checkpoints", promised);
  return found.wrong;
}

struct Tally {
  std::size_t states = 0;  // different ones
  std::size_t wrong = 0;
  std::string first_wrong{};
};

class Campaign {
 public:
  Campaign(const std::vector<Operation>& operations, const fs::path& disk) : operations_(operations), disk_(disk) {}

  // At most `wanted` states, over all prefixes; until the first wrong one with `stop_at_wrong`.
  Tally run(Believes believes, std::size_t wanted, bool stop_at_wrong) {
    Tally tally;
    std::set<std::uint64_t> seen;
    const std::vector<std::size_t> cuts = spread(operations_.size() + 1, std::max<std::size_t>(wanted / 2, 2));
    for (std::uint64_t round = 0; round < kRounds && tally.states < wanted; ++round) {
      CrashModel model(disk_, believes);
      std::int64_t promised = 0;
      for (std::size_t cut = 0; cut <= operations_.size() && tally.states < wanted; ++cut) {
        if (cut > 0) apply(operations_[cut - 1], model, promised);
        if (!std::ranges::binary_search(cuts, cut)) continue;
        const Fates fates = fates_of(round, cut);
        const CrashModel::Disk disk = model.after_crash(fates);
        if (!seen.insert(mix_bits(hash_of(disk)) + static_cast<std::uint64_t>(promised)).second) continue;
        ++tally.states;
        const std::string wrong = try_disk(disk, promised);
        if (wrong.empty()) continue;
        if (tally.wrong++ == 0) tally.first_wrong = describe(cut, fates, wrong);
        if (stop_at_wrong) return tally;
      }
    }
    return tally;
  }

 private:
  static constexpr std::uint64_t kRounds = 400;  // ends the search for more different states

  static void apply(const Operation& operation, CrashModel& model, std::int64_t& promised) {
    model.apply(operation);
    if (operation.kind == shim::Kind::note && operation.path.starts_with(kPromise)) {
      promised = std::max(promised, std::stol(operation.path.substr(kPromise.size())));
    }
  }

  // The first round takes the telling rules in turn, so that a short campaign has all of them.
  static Fates fates_of(std::uint64_t round, std::size_t cut) {
    constexpr std::uint64_t kRules = static_cast<std::uint64_t>(Rule::any);
    const std::uint64_t rule = (round + cut) % kRules;
    return {.rule = round < kRules ? static_cast<Rule>(rule) : Rule::any, .seed = round};
  }

  std::string describe(std::size_t cut, const Fates& fates, const std::string& wrong) const {
    return "after operation " + std::to_string(cut) + (cut > 0 ? " (" + operations_[cut - 1].path + ")" : "") +
           ", rule " + std::to_string(static_cast<int>(fates.rule)) + ", seed " + std::to_string(fates.seed) + ": " +
           wrong;
  }

  const std::vector<Operation>& operations_;
  fs::path disk_;
};

int run(std::size_t wanted) {
  const test::TemporaryDirectory root;
  const std::vector<Operation> operations = record_job(root.path());
  Campaign campaign(operations, root / "disk");
  const Tally right = campaign.run(Believes::all, wanted, false);
  std::printf("%zu operations, %zu states, %zu wrong\n", operations.size(), right.states, right.wrong);
  if (right.wrong > 0) std::printf("%s\n", right.first_wrong.c_str());
  bool passed = right.wrong == 0 && right.states > 0;
  for (const Believes believes : {Believes::no_file_sync, Believes::no_folder_sync, Believes::none}) {
    const Tally crippled = campaign.run(believes, wanted, true);
    const bool found = crippled.wrong > 0;
    std::printf("a disk that ignores %s: %s\n",
                believes == Believes::none           ? "every fsync"
                : believes == Believes::no_file_sync ? "fsyncs of files"
                                                     : "fsyncs of folders",
                found ? ("caught: " + crippled.first_wrong).c_str() : "NOT CAUGHT");
    passed = passed && found;
  }
  return passed ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: checkpoint_power_loss STATES\n"), 2;
  return lockstep::testing::run(std::strtoul(argv[1], nullptr, 10));
}
