// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/checkpoint/contents.hpp"

#include <fmt/format.h>

#include <thread>

#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/background.hpp"
#include "save/own_failure.hpp"
#include "save/save_progress.hpp"
#include "save/staged_part.hpp"
#include "write/commit.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr auto kPollInterval = std::chrono::milliseconds(1);  // of finish(): ranks talk, while their threads write

enum class Phase { writing, committing, tidying };

struct SaveInFlight {
  explicit SaveInFlight(std::chrono::milliseconds timeout) : progress(timeout) {}
  fs::path unfinished;  // empty: it could not be made
  OwnFailure failure;
  Phase phase = Phase::writing;
  SaveProgress progress;
  SaveOutcome outcome{};  // of the commit, while older checkpoints are removed
};

}  // namespace

class CheckpointSaver::Impl {
 public:
  Impl(Communicator& world, SaverOptions options) : world_(world), options_(std::move(options)) {}

  void save(const CheckpointContents& contents, bool overlap);
  void wait_until_staged() { part_.wait_until_copied(); }
  std::optional<SaveOutcome> poll(bool may_give_up);
  std::optional<SaveOutcome> finish();
  [[nodiscard]] bool in_flight() const noexcept { return save_.has_value(); }

 private:
  [[nodiscard]] bool is_root() const noexcept { return world_.rank() == 0; }
  [[nodiscard]] std::int64_t step() const noexcept { return part_.contents().step; }
  [[nodiscard]] bool removes() const noexcept {
    return options_.retention.keep_last > 0 || options_.retention.quota_bytes > 0;
  }
  void make_folder();
  [[nodiscard]] std::int64_t own_status() const;
  std::optional<SaveOutcome> collect();
  void begin_commit(const std::vector<RankReport>& reports);
  std::optional<SaveOutcome> begin_to_tidy();
  [[nodiscard]] SaveOutcome end_tidied();
  void begin_phase(Phase phase);
  [[nodiscard]] SaveOutcome end(SaveOutcome outcome);
  [[nodiscard]] SaveOutcome end_stuck();

  Communicator& world_;
  SaverOptions options_;
  std::optional<SaveInFlight> save_;
  StagedPart part_;
  BackgroundCommit commit_;  // rank 0's
};

// Collective.
void CheckpointSaver::Impl::make_folder() {
  std::string path;
  if (is_root()) {
    save_->failure.note([&] {
      if (!commit_.idle()) {
        throw IoError(
            {.what = "begin a checkpoint", .why = "the commit of an earlier one has not come back", .fix = {}});
      }
      path = make_unfinished_folder(options_.folder, step()).string();
    });
  }
  save_->unfinished = world_.broadcast(path, 0);
}

void CheckpointSaver::Impl::save(const CheckpointContents& contents, bool overlap) {
  if (save_) refuse_second_save(contents.step, step());
  part_.lay_out(world_, contents);
  save_.emplace(options_.timeout);
  make_folder();
  if (save_->unfinished.empty()) return;
  // Nothing is removed before the new one was read back.
  save_->failure.note(
      [&] { part_.stage(contents, save_->unfinished / part_name(world_.rank()), overlap, /*read_back=*/removes()); });
}

std::int64_t CheckpointSaver::Impl::own_status() const {
  if (save_->phase != Phase::writing) return is_root() && commit_.at_work() ? 0 : SaveProgress::kDone;
  if (save_->unfinished.empty() || !save_->failure.none() || part_.done()) return SaveProgress::kDone;
  return static_cast<std::int64_t>(part_.bytes_done());
}

// Collective. All writers are done: rank 0 begins to commit, unless one failed.
std::optional<SaveOutcome> CheckpointSaver::Impl::collect() {
  RankReport own;
  if (save_->failure.none() && !save_->unfinished.empty()) save_->failure.note([&] { own = part_.take_report(); });
  if (auto failure = save_->failure.agreed(world_); !failure.empty()) {
    return end({.step = step(), .failure = std::move(failure)});
  }
  const auto reports = gather_reports(world_, own);
  try {
    agree(world_, [&] {
      if (is_root()) begin_commit(reports);
    });
  } catch (const AgreedError&) {
    static_cast<void>(end({.failure = "replicas differ"}));
    throw;
  }
  begin_phase(Phase::committing);
  return std::nullopt;
}

// Rank 0.
void CheckpointSaver::Impl::begin_commit(const std::vector<RankReport>& reports) {
  commit_.start(std::packaged_task<SaveOutcome(KeptIndex&)>(
      [unfinished = save_->unfinished, manifest = part_.manifest(reports)](KeptIndex& index) mutable {
        return commit_on_root(unfinished, std::move(manifest), index);
      }));
}

// Collective. The checkpoint is durable, or failed; old ones go now.
std::optional<SaveOutcome> CheckpointSaver::Impl::begin_to_tidy() {
  SaveOutcome outcome = is_root() ? commit_.take() : SaveOutcome();
  if (!outcome.failure.empty()) outcome.failure = fmt::format("[{}] {}", world_.who(), outcome.failure);
  outcome = broadcast_outcome(world_, outcome, 0);
  if (!outcome.failure.empty() || !removes()) return end(std::move(outcome));
  save_->outcome = std::move(outcome);
  if (is_root()) {
    commit_.start(std::packaged_task<SaveOutcome(KeptIndex&)>(
        [folder = options_.folder, policy = options_.retention, step = step()](KeptIndex&) {
          return retain(folder, policy, step);
        }));
  }
  begin_phase(Phase::tidying);
  return std::nullopt;
}

// Collective.
SaveOutcome CheckpointSaver::Impl::end_tidied() {
  const SaveOutcome tidied = broadcast_outcome(world_, is_root() ? commit_.take() : SaveOutcome(), 0);
  SaveOutcome outcome = std::move(save_->outcome);
  outcome.removed = tidied.removed;
  outcome.warnings.insert(outcome.warnings.end(), tidied.warnings.begin(), tidied.warnings.end());
  return end(std::move(outcome));
}

void CheckpointSaver::Impl::begin_phase(Phase phase) {
  save_->phase = phase;
  save_->progress.begin_anew();
}

SaveOutcome CheckpointSaver::Impl::end(SaveOutcome outcome) {
  if (is_root() && !outcome.failure.empty() && !save_->unfinished.empty()) discard(save_->unfinished);
  save_.reset();
  return outcome;
}

// The disk may come back and the thread with it; the temporary folder is left to the next start.
SaveOutcome CheckpointSaver::Impl::end_stuck() {
  SaveOutcome outcome{.step = step()};
  if (save_->phase == Phase::tidying) {
    outcome = std::move(save_->outcome);
    outcome.warnings.emplace_back("older checkpoints are still being removed");
  } else {
    const bool commits = save_->phase == Phase::committing;
    outcome.failure = save_->progress.stuck_text(world_, commits ? "which commits" : "which writes its file");
  }
  save_.reset();
  return outcome;
}

std::optional<SaveOutcome> CheckpointSaver::Impl::poll(bool may_give_up) {
  if (!save_) return std::nullopt;
  switch (save_->progress.exchange(world_, own_status(), may_give_up)) {
    case SaveProgress::State::at_work:
      return std::nullopt;
    case SaveProgress::State::stuck:
      return end_stuck();
    case SaveProgress::State::done:
      break;
  }
  switch (save_->phase) {
    case Phase::writing:
      return collect();
    case Phase::committing:
      return begin_to_tidy();
    case Phase::tidying:
      break;
  }
  return end_tidied();
}

std::optional<SaveOutcome> CheckpointSaver::Impl::finish() {
  if (save_) save_->progress.begin_anew();
  while (save_) {
    if (auto outcome = poll(true)) return outcome;
    part_.hurry();
    std::this_thread::sleep_for(kPollInterval);
  }
  return std::nullopt;
}

CheckpointSaver::CheckpointSaver(Communicator& world, SaverOptions options)
    : impl_(std::make_unique<Impl>(world, std::move(options))) {}
CheckpointSaver::~CheckpointSaver() = default;

void CheckpointSaver::save(const CheckpointContents& contents, bool overlap) { impl_->save(contents, overlap); }
void CheckpointSaver::wait_until_staged() { impl_->wait_until_staged(); }
std::optional<SaveOutcome> CheckpointSaver::poll() { return impl_->poll(false); }
std::optional<SaveOutcome> CheckpointSaver::finish() { return impl_->finish(); }
bool CheckpointSaver::in_flight() const noexcept { return impl_->in_flight(); }

}  // namespace lockstep
