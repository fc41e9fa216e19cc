// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <thread>

#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/background.hpp"
#include "save/node_folder.hpp"
#include "save/own_failure.hpp"
#include "save/partner_copy.hpp"
#include "save/placement.hpp"
#include "save/save_progress.hpp"
#include "save/staged_part.hpp"
#include "write/commit.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kPollInterval = std::chrono::milliseconds(1);  // of finish()

// All ranks go from one to the next together.
enum class Phase {
  staging,     // images become complete
  writing,     // images are sent, and written twice
  committing,  // first ranks of nodes: MANIFEST, rename
  tidying,     // first ranks of nodes: what the outcome lets go
};

struct SaveInFlight {
  explicit SaveInFlight(std::chrono::milliseconds timeout) : progress(timeout) {}
  fs::path unfinished;  // of this rank's node; empty: it could not be made
  OwnFailure failure;
  Phase phase = Phase::staging;
  bool staged = false;     // this rank's file was given to its writer
  std::string not_sent;    // why nothing is: what some rank failed of; the same on all
  bool committed = false;  // by this rank
  bool tidies = false;     // this rank
  SaveOutcome outcome{};   // from the end of committing on
  SaveProgress progress;
};

}  // namespace

class PartnerSaver::Impl {
 public:
  Impl(Communicator& world, PartnerOptions options);

  void save(const CheckpointContents& contents, bool overlap);
  void wait_until_staged() { part_.wait_until_copied(); }
  std::optional<SaveOutcome> poll(bool may_give_up);
  std::optional<SaveOutcome> finish();
  [[nodiscard]] bool in_flight() const noexcept { return save_.has_value(); }

 private:
  [[nodiscard]] int own_node() const { return placement_.node_of(world_.rank()); }
  [[nodiscard]] bool is_first_of_node() const { return placement_.first_rank_of(own_node()) == world_.rank(); }
  [[nodiscard]] std::int64_t step() const noexcept { return part_.contents().step; }
  void make_folders();
  void stage(const CheckpointContents& contents, bool overlap);
  void advance();
  [[nodiscard]] std::int64_t own_status() const;
  [[nodiscard]] bool exchanges_messages() const;
  [[nodiscard]] bool is_written() const;
  std::optional<SaveOutcome> next_phase();
  void begin_to_send();
  std::optional<SaveOutcome> begin_to_commit();
  [[nodiscard]] RankReport take_files(std::vector<FileRecord>& copies);
  void compare_copies(const Manifest& manifest, const std::vector<FileRecord>& copies) const;
  [[nodiscard]] SaveOutcome agree_on_outcome(SaveOutcome own);
  void begin_to_tidy();
  [[nodiscard]] SaveOutcome end(std::string failure);

  Communicator& world_;
  PartnerOptions options_;
  Placement placement_;
  fs::path folder_;  // of this rank's node
  std::optional<SaveInFlight> save_;
  StagedPart part_;
  PieceMessages to_partner_;
  std::list<PartnerCopy> copies_;
  BackgroundCommit commit_;  // of the first rank of a node
};

PartnerSaver::Impl::Impl(Communicator& world, PartnerOptions options)
    : world_(world), options_(std::move(options)), placement_(world, options_.nodes) {
  if (placement_.nodes() < 2) {
    throw UsageError({.what = "partner copies",
                      .why = "all ranks are on one node: a copy there would be lost together with what it is a copy of",
                      .fix = "save to shared storage, or start ranks on two nodes at least"});
  }
  if (options_.keep_last < 2) {
    throw UsageError({.what = "partner copies",
                      .why = fmt::format("keep_last is {}: a crash while the newest is committed would leave none",
                                         options_.keep_last),
                      .fix = "keep 2 or more"});
  }
  folder_ = node_folder(options_.folder, placement_.number_of(own_node()));
  agree(world_, [&] {
    if (is_first_of_node()) prepare_node_folder(folder_);
  });
  for (const int origin : placement_.origins_of(world_.rank())) copies_.emplace_back(origin);
}

// Collective. Each node's unfinished folder.
void PartnerSaver::Impl::make_folders() {
  std::string name;
  if (is_first_of_node()) {
    save_->failure.note([&] {
      if (!commit_.idle()) {
        throw IoError(
            {.what = "begin a checkpoint", .why = "the commit of an earlier one has not come back", .fix = {}});
      }
      name = make_unfinished_folder(folder_, step()).filename().string();
    });
  }
  const auto names = exchange_names(world_, name);
  const std::string& own = names[static_cast<std::size_t>(placement_.first_rank_of(own_node()))];
  if (!own.empty()) save_->unfinished = folder_ / own;
}

void PartnerSaver::Impl::save(const CheckpointContents& contents, bool overlap) {
  if (save_) refuse_second_save(contents.step, step());
  part_.lay_out(world_, contents);
  save_.emplace(options_.timeout);
  make_folders();
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(world_.world_size()));
  auto own_size = static_cast<std::int64_t>(part_.file_bytes());
  world_.all_gather(sizes.data(), {&own_size, 1, DType::int64}).wait();
  if (save_->unfinished.empty()) return;
  save_->failure.note([&] {
    if (!to_partner_.done()) {
      throw IoError({.what = "begin a checkpoint", .why = "an earlier one is still being sent", .fix = {}});
    }
    for (PartnerCopy& copy : copies_) {
      copy.reserve(static_cast<std::uint64_t>(sizes[static_cast<std::size_t>(copy.origin())]));
    }
    part_.stage(contents, save_->unfinished / part_name(world_.rank()), overlap, /*read_back=*/true);
    save_->staged = true;
  });
}

void PartnerSaver::Impl::advance() {
  if (save_->phase != Phase::writing || !save_->not_sent.empty()) return;
  static_cast<void>(to_partner_.done());
  for (PartnerCopy& copy : copies_) save_->failure.note([&] { copy.advance(); });
}

bool PartnerSaver::Impl::exchanges_messages() const {
  return to_partner_.left() > 0 ||
         std::ranges::any_of(copies_, [](const PartnerCopy& copy) { return copy.receives(); });
}

// Whatever fails, a rank sends and receives all that its peers expect, and its files are let go before the folder is.
bool PartnerSaver::Impl::is_written() const {
  if (save_->staged && !part_.done()) return false;
  if (!save_->not_sent.empty()) return true;
  return !exchanges_messages() && std::ranges::all_of(copies_, [](const PartnerCopy& copy) { return copy.written(); });
}

std::int64_t PartnerSaver::Impl::own_status() const {
  bool done = false;
  std::uint64_t moved = 0;
  switch (save_->phase) {
    case Phase::staging:
      done = !save_->staged || part_.copied();
      break;
    case Phase::writing:
      done = is_written();
      moved = part_.bytes_done() + to_partner_.left();
      for (const PartnerCopy& copy : copies_) moved += copy.moved();
      break;
    case Phase::committing:
    case Phase::tidying:
      done = !commit_.at_work();
  }
  return done ? SaveProgress::kDone : static_cast<std::int64_t>(moved);
}

std::optional<SaveOutcome> PartnerSaver::Impl::poll(bool may_give_up) {
  if (!save_) return std::nullopt;
  advance();
  switch (save_->progress.exchange(world_, own_status(), may_give_up)) {
    case SaveProgress::State::at_work:
      return std::nullopt;
    case SaveProgress::State::stuck: {
      SaveOutcome outcome{.step = step()};
      if (save_->phase == Phase::tidying) {
        outcome = std::move(save_->outcome);
        outcome.warnings.emplace_back("older checkpoints are still being removed");
      } else {
        outcome.failure = save_->progress.stuck_text(world_, "which writes or commits");
      }
      save_.reset();  // the disk may come back and the thread with it: the folder is left to the next start
      return outcome;
    }
    case SaveProgress::State::done:
      return next_phase();
  }
  return std::nullopt;
}

std::optional<SaveOutcome> PartnerSaver::Impl::next_phase() {
  save_->progress.begin_anew();
  switch (save_->phase) {
    case Phase::staging:
      begin_to_send();
      return std::nullopt;
    case Phase::writing:
      return begin_to_commit();
    case Phase::committing:
      save_->outcome = agree_on_outcome(is_first_of_node() ? commit_.take() : SaveOutcome());
      begin_to_tidy();
      return std::nullopt;
    case Phase::tidying:
      break;
  }
  const SaveOutcome tidy = agree_on_outcome(save_->tidies ? commit_.take() : SaveOutcome());
  SaveOutcome outcome = std::move(save_->outcome);
  outcome.warnings.insert(outcome.warnings.end(), tidy.warnings.begin(), tidy.warnings.end());
  outcome.removed = tidy.removed;
  save_.reset();
  return outcome;
}

// Collective. All images are complete, or some rank has failed: then nothing is sent, and the save ends when the files
// at work have.
void PartnerSaver::Impl::begin_to_send() {
  save_->phase = Phase::writing;
  save_->not_sent = save_->failure.agreed(world_);
  if (!save_->not_sent.empty()) return;
  to_partner_.send(world_, placement_.partner_of(world_.rank()), part_.image(), part_.memory());
  for (PartnerCopy& copy : copies_) copy.begin(world_, save_->unfinished / part_name(copy.origin()));
}

RankReport PartnerSaver::Impl::take_files(std::vector<FileRecord>& copies) {
  RankReport own;
  if (!save_->failure.none()) return own;
  save_->failure.note([&] {
    own = part_.take_report();
    for (PartnerCopy& copy : copies_) copies.push_back(copy.take());
  });
  return own;
}

// Collective. All files are written.
std::optional<SaveOutcome> PartnerSaver::Impl::begin_to_commit() {
  if (!save_->not_sent.empty()) return end(save_->not_sent);
  std::vector<FileRecord> copies;
  const RankReport own = take_files(copies);
  if (auto failure = save_->failure.agreed(world_); !failure.empty()) return end(std::move(failure));

  const auto reports = gather_reports(world_, own);
  std::string text;
  try {
    text = decide_on_rank_0(world_, [&] { return print_manifest(part_.manifest(reports)); });
  } catch (const AgreedError& error) {
    static_cast<void>(end(error.what()));
    throw;
  }
  Manifest manifest;
  save_->failure.note([&] {
    manifest = parse_manifest(text, save_->unfinished / kManifestName);
    compare_copies(manifest, copies);
  });
  if (auto failure = save_->failure.agreed(world_); !failure.empty()) return end(std::move(failure));
  save_->phase = Phase::committing;
  if (is_first_of_node()) {
    commit_.start(std::packaged_task<SaveOutcome(KeptIndex&)>(
        [unfinished = save_->unfinished, manifest = std::move(manifest)](KeptIndex& index) mutable {
          return commit_on_node(unfinished, std::move(manifest), index);
        }));
  }
  return std::nullopt;
}

void PartnerSaver::Impl::compare_copies(const Manifest& manifest, const std::vector<FileRecord>& copies) const {
  for (const FileRecord& copy : copies) {
    if (std::ranges::find(manifest.files, copy) != manifest.files.end()) continue;
    throw IoError({.what = fmt::format("copy {} to a partner", copy.name),
                   .why = "what arrived is not what was sent",
                   .fix = "look for faulty memory or network cards of the two hosts"});
  }
}

// Collective. `own` of a node's first rank. The failure of the lowest rank that has one, else the warnings of the
// lowest that has some, else what rank 0 says.
SaveOutcome PartnerSaver::Impl::agree_on_outcome(SaveOutcome own) {
  save_->committed = save_->committed || !own.path.empty();
  if (!own.failure.empty()) own.failure = fmt::format("[{}] {}", world_.who(), own.failure);
  const int ranks = world_.world_size();
  std::int64_t speaker = !own.failure.empty() ? world_.rank() : (own.warnings.empty() ? 2 : 1) * ranks + world_.rank();
  world_.all_reduce({&speaker, 1, DType::int64}, ReduceOp::min).wait();
  SaveOutcome agreed = broadcast_outcome(world_, own, static_cast<int>(speaker % ranks));
  agreed.step = step();
  agreed.path = agreed.failure.empty() ? checkpoint_path(folder_, step()) : fs::path();
  return agreed;
}

// A step that some node lacks would count as one of those that stay.
void PartnerSaver::Impl::begin_to_tidy() {
  save_->phase = Phase::tidying;
  const bool failed = !save_->outcome.failure.empty();
  save_->tidies = is_first_of_node() && (!failed || save_->committed);
  if (!save_->tidies) return;
  commit_.start(std::packaged_task<SaveOutcome(KeptIndex&)>(
      [failed, folder = folder_, step = step(), keep = options_.keep_last](KeptIndex&) {
        return failed ? withdraw_on_node(folder, step) : retain_on_node(folder, step, keep);
      }));
}

SaveOutcome PartnerSaver::Impl::end(std::string failure) {
  SaveOutcome outcome{.step = step(), .failure = std::move(failure)};
  if (is_first_of_node() && !save_->unfinished.empty()) discard(save_->unfinished);
  save_.reset();
  return outcome;
}

std::optional<SaveOutcome> PartnerSaver::Impl::finish() {
  if (save_) save_->progress.begin_anew();
  while (save_) {
    if (auto outcome = poll(true)) return outcome;
    part_.hurry();
    for (PartnerCopy& copy : copies_) copy.hurry();
    if (exchanges_messages()) {  // which move only while somebody calls
      for (const auto until = Clock::now() + kPollInterval; Clock::now() < until;) world_.progress();
    } else {
      std::this_thread::sleep_for(kPollInterval);
    }
  }
  return std::nullopt;
}

PartnerSaver::PartnerSaver(Communicator& world, PartnerOptions options)
    : impl_(std::make_unique<Impl>(world, std::move(options))) {}
PartnerSaver::~PartnerSaver() = default;

void PartnerSaver::save(const CheckpointContents& contents, bool overlap) { impl_->save(contents, overlap); }
void PartnerSaver::wait_until_staged() { impl_->wait_until_staged(); }
std::optional<SaveOutcome> PartnerSaver::poll() { return impl_->poll(false); }
std::optional<SaveOutcome> PartnerSaver::finish() { return impl_->finish(); }
bool PartnerSaver::in_flight() const noexcept { return impl_->in_flight(); }

}  // namespace lockstep
