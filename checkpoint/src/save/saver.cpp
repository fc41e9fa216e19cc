// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/saver.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "format/step_folder.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/background.hpp"
#include "save/exchange.hpp"
#include "save/replicas.hpp"
#include "write/commit.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// What a rank tells of the save in flight besides the bytes that it has written.
constexpr std::int64_t kDone = -1;
constexpr std::int64_t kGivesUp = -2;  // rank 0: nothing has moved for too long

constexpr auto kPollInterval = std::chrono::milliseconds(1);  // of finish(): ranks talk, while their threads write

// What depends only on who holds which slices, kept from save to save.
struct Layout {
  std::vector<HeldSlice> held;  // by this rank
  WritePlan plan;
  Part part;
};

struct SaveInFlight {
  CheckpointContents contents;               // without tensors
  fs::path unfinished;                       // empty: it could not be made
  std::string own_failure;                   // of this rank
  std::vector<std::uint32_t> compared_crcs;  // by Part::compared
  std::vector<std::size_t> compared_later;   // those that the writer takes
  bool committing = false;
  std::vector<std::int64_t> status;  // of all ranks, when they last spoke
  Clock::time_point moved = Clock::now();
};

std::string text_of(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  return ours == nullptr ? error.what() : fmt::format("{}: {}", ours->text().what, ours->text().why);
}

std::string encode(const SaveOutcome& outcome) {
  return nlohmann::json{{"step", outcome.step},
                        {"path", outcome.path.string()},
                        {"failure", outcome.failure},
                        {"warnings", outcome.warnings},
                        {"removed", outcome.removed}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

SaveOutcome decode(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  return {.step = json.at("step"),
          .path = json.at("path").get<std::string>(),
          .failure = json.at("failure"),
          .warnings = json.at("warnings"),
          .removed = json.at("removed")};
}

}  // namespace

class CheckpointSaver::Impl {
 public:
  Impl(Communicator& world, SaverOptions options) : world_(world), options_(std::move(options)) {}

  void save(const CheckpointContents& contents, bool overlap);
  void wait_until_staged() { writer_.wait_until_copied(); }
  std::optional<SaveOutcome> poll(bool may_give_up);
  std::optional<SaveOutcome> finish();
  [[nodiscard]] bool in_flight() const noexcept { return save_.has_value(); }

 private:
  enum class Progress { at_work, done, stuck };
  [[nodiscard]] bool is_root() const noexcept { return world_.rank() == 0; }
  void lay_out(const CheckpointContents& contents);
  void make_folder();
  void stage(const CheckpointContents& contents, bool overlap);
  [[nodiscard]] std::int64_t own_status(bool may_give_up) const;
  [[nodiscard]] Progress exchange_status(bool may_give_up);
  [[nodiscard]] RankReport take_report();
  std::optional<SaveOutcome> collect();
  void begin_commit(const std::vector<RankReport>& reports);
  [[nodiscard]] SaveOutcome end(SaveOutcome outcome);
  [[nodiscard]] SaveOutcome end_stuck();
  template <class Action>
  void note_failure(Action&& action);

  Communicator& world_;
  SaverOptions options_;
  std::optional<Layout> layout_;
  std::optional<SaveInFlight> save_;
  bool file_at_work_ = false;  // given to writer_ and not taken, perhaps by a save that was given up
  StagingMemory memory_;
  FileWriter writer_;
  BackgroundCommit commit_;  // rank 0's
};

// What one rank cannot do fails the save and not the job.
template <class Action>
void CheckpointSaver::Impl::note_failure(Action&& action) {
  try {
    action();
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    if (save_->own_failure.empty()) save_->own_failure = text_of(error);
  }
}

// Collective. Makes the layout anew if any rank holds other slices than last time.
void CheckpointSaver::Impl::lay_out(const CheckpointContents& contents) {
  std::vector<HeldSlice> held;
  agree(world_, [&] {
    check_contents(contents);
    held = held_slices(contents);
  });
  std::int64_t same = layout_ && layout_->held == held ? 1 : 0;
  world_.all_reduce({&same, 1, DType::int64}, ReduceOp::min).wait();
  if (same != 0) return;
  layout_.reset();
  const auto all_held = exchange_held(world_, held);
  agree(world_, [&] {
    WritePlan plan = plan_writes(all_held);
    Part part = make_part(plan, world_.rank());
    layout_ = Layout{std::move(held), std::move(plan), std::move(part)};
  });
}

// Collective.
void CheckpointSaver::Impl::make_folder() {
  std::string path;
  if (is_root()) {
    note_failure([&] {
      if (!commit_.idle()) {
        throw IoError(
            {.what = "begin a checkpoint", .why = "the commit of an earlier one has not come back", .fix = {}});
      }
      path = make_unfinished_folder(options_.folder, save_->contents.step).string();
    });
  }
  save_->unfinished = world_.broadcast(path, 0);
}

void CheckpointSaver::Impl::stage(const CheckpointContents& contents, bool overlap) {
  if (file_at_work_) {
    if (!writer_.done()) {
      throw IoError(
          {.what = "begin a checkpoint", .why = "the file of an earlier one is still being written", .fix = {}});
    }
    file_at_work_ = false;
    try {
      static_cast<void>(writer_.take());
    } catch (const IoError&) {  // told when its save failed
    }
  }
  const Layout& layout = *layout_;
  WriteJob job{.path = save_->unfinished / part_name(world_.rank()),
               .image = prepare_image(layout.part, memory_),
               .read_back = options_.retention.keep_last > 0 || options_.retention.quota_bytes > 0};
  const auto written = sources(layout.plan, layout.part.written, contents);
  for (std::size_t i = 0; i < written.size(); ++i) {
    const Part::Piece& piece = layout.part.written[i];
    job.pieces.push_back({piece.offset, piece.bytes});
    const WriteJob::Copy copy{job.image.data() + piece.offset, written[i].bytes.data(), written[i].bytes.size()};
    if (overlap && !written[i].changes_in_forward) {
      job.copies.push_back(copy);
    } else {
      std::memcpy(copy.to, copy.from, copy.bytes);
    }
  }
  // What another rank writes is not copied here: its CRC-32C tells whether the two have the same bits.
  const auto compared = sources(layout.plan, layout.part.compared, contents);
  save_->compared_crcs.resize(compared.size());
  for (std::size_t i = 0; i < compared.size(); ++i) {
    if (overlap && !compared[i].changes_in_forward) {
      job.compared.push_back(compared[i].bytes);
      save_->compared_later.push_back(i);
    } else {
      save_->compared_crcs[i] = crc32c(compared[i].bytes);
    }
  }
  writer_.start(std::move(job));
  file_at_work_ = true;
}

void CheckpointSaver::Impl::save(const CheckpointContents& contents, bool overlap) {
  if (save_) {
    throw UsageError({.what = fmt::format("save step {}", contents.step),
                      .why = fmt::format("the save of step {} is in flight", save_->contents.step),
                      .fix = "call finish() first"});
  }
  lay_out(contents);
  save_.emplace();
  save_->contents = {.step = contents.step,
                     .seed = contents.seed,
                     .determinism = contents.determinism,
                     .tensors = {},
                     .blobs = contents.blobs,
                     .metrics = contents.metrics};
  make_folder();
  if (!save_->unfinished.empty()) note_failure([&] { stage(contents, overlap); });
}

std::int64_t CheckpointSaver::Impl::own_status(bool may_give_up) const {
  if (may_give_up && is_root() && Clock::now() - save_->moved > options_.timeout) return kGivesUp;
  if (save_->committing) return is_root() && commit_.at_work() ? 0 : kDone;
  const bool writes = file_at_work_ && save_->own_failure.empty();
  return writes && !writer_.done() ? static_cast<std::int64_t>(writer_.bytes_done()) : kDone;
}

// Collective. No rank waits for a disk here, so that none waits long for another.
CheckpointSaver::Impl::Progress CheckpointSaver::Impl::exchange_status(bool may_give_up) {
  std::vector<std::int64_t> status(static_cast<std::size_t>(world_.world_size()));
  std::int64_t own = own_status(may_give_up);
  world_.all_gather(status.data(), {&own, 1, DType::int64}).wait();
  if (status[0] == kGivesUp) return Progress::stuck;
  if (status != save_->status) save_->moved = Clock::now();
  save_->status = std::move(status);
  const bool done = std::ranges::all_of(save_->status, [](std::int64_t each) { return each == kDone; });
  return done ? Progress::done : Progress::at_work;
}

RankReport CheckpointSaver::Impl::take_report() {
  RankReport report;
  if (!save_->own_failure.empty() || !file_at_work_) return report;
  file_at_work_ = false;
  note_failure([&] {
    WrittenFile written = writer_.take();
    for (std::size_t i = 0; i < save_->compared_later.size(); ++i) {
      save_->compared_crcs[save_->compared_later[i]] = written.compared_crcs[i];
    }
    report.part.file = std::move(written.file);
    report.part.crcs = std::move(written.piece_crcs);
    for (const Part::Piece& piece : layout_->part.written) report.part.offsets.push_back(piece.offset);
    report.compared_crcs = save_->compared_crcs;
  });
  return report;
}

// Collective. All writers are done: rank 0 begins to commit, unless one failed.
std::optional<SaveOutcome> CheckpointSaver::Impl::collect() {
  const RankReport own = take_report();
  std::int64_t failed_rank = save_->own_failure.empty() ? world_.world_size() : world_.rank();
  world_.all_reduce({&failed_rank, 1, DType::int64}, ReduceOp::min).wait();
  if (failed_rank < world_.world_size()) {
    const std::string who = save_->own_failure.empty() ? "" : fmt::format("[{}] {}", world_.who(), save_->own_failure);
    return end({.step = save_->contents.step, .failure = world_.broadcast(who, static_cast<int>(failed_rank))});
  }
  const auto reports = gather_reports(world_, own);
  agree(world_, [&] {
    if (is_root()) begin_commit(reports);
  });
  save_->committing = true;
  return std::nullopt;
}

// Rank 0.
void CheckpointSaver::Impl::begin_commit(const std::vector<RankReport>& reports) {
  if (const std::string diverged = diverged_replicas(layout_->plan, reports); !diverged.empty()) {
    const std::int64_t step = save_->contents.step;
    discard(save_->unfinished);
    throw CheckpointError({.what = fmt::format("save step {}", step),
                           .why = fmt::format("ranks hold different bits of the same tensors: {}", diverged),
                           .fix = "nothing was saved, and older checkpoints are as they were; look for code that runs "
                                  "on some ranks only, or faulty memory on the host of a rank that stands alone"});
  }
  std::vector<PartReport> parts;
  for (const RankReport& report : reports) parts.push_back(report.part);
  commit_.start(save_->unfinished, make_manifest(save_->contents, layout_->plan, parts), options_.retention);
}

SaveOutcome CheckpointSaver::Impl::end(SaveOutcome outcome) {
  if (is_root() && !outcome.failure.empty() && !save_->unfinished.empty()) discard(save_->unfinished);
  save_.reset();
  return outcome;
}

// The disk may come back and the thread with it; the temporary folder is left to the next start.
SaveOutcome CheckpointSaver::Impl::end_stuck() {
  std::vector<std::string> ranks;
  for (std::size_t rank = 0; rank < save_->status.size(); ++rank) {
    if (save_->status[rank] == kDone) continue;
    const comm::Peer& peer = world_.peers()[rank];
    ranks.push_back(save_->committing
                        ? fmt::format("rank {} ({}), which commits", rank, peer.host)
                        : fmt::format("rank {} ({}), after {} bytes", rank, peer.host, save_->status[rank]));
  }
  SaveOutcome outcome{.step = save_->contents.step,
                      .failure = fmt::format("the disk has not moved for {} s: {}", options_.timeout.count() / 1000.0,
                                             fmt::join(ranks, "; "))};
  save_.reset();
  return outcome;
}

std::optional<SaveOutcome> CheckpointSaver::Impl::poll(bool may_give_up) {
  if (!save_) return std::nullopt;
  switch (exchange_status(may_give_up)) {
    case Progress::at_work:
      return std::nullopt;
    case Progress::stuck:
      return end_stuck();
    case Progress::done:
      break;
  }
  if (!save_->committing) return collect();
  std::string ended;
  if (is_root()) {
    SaveOutcome outcome = commit_.take();
    if (!outcome.failure.empty()) outcome.failure = fmt::format("[{}] {}", world_.who(), outcome.failure);
    ended = encode(outcome);
  }
  return end(decode(world_.broadcast(ended, 0)));
}

std::optional<SaveOutcome> CheckpointSaver::Impl::finish() {
  while (save_) {
    if (auto outcome = poll(true)) return outcome;
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
