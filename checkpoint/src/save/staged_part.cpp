// SPDX-License-Identifier: Apache-2.0
#include "save/staged_part.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/agree.hpp"
#include "save/replicas.hpp"

namespace lockstep {

void StagedPart::lay_out(Communicator& world, const CheckpointContents& contents) {
  std::vector<HeldSlice> held;
  agree(world, [&] {
    check_contents(contents);
    held = held_slices(contents);
  });
  contents_ = {.step = contents.step,
               .seed = contents.seed,
               .determinism = contents.determinism,
               .tensors = {},
               .blobs = contents.blobs,
               .metrics = contents.metrics};
  std::int64_t same = layout_ && layout_->held == held ? 1 : 0;
  world.all_reduce({&same, 1, DType::int64}, ReduceOp::min).wait();
  if (same != 0) return;
  layout_.reset();
  const auto all_held = exchange_held(world, held);
  agree(world, [&] {
    WritePlan plan = plan_writes(all_held);
    Part part = make_part(plan, world.rank());
    layout_ = Layout{std::move(held), std::move(plan), std::move(part)};
  });
}

void StagedPart::drop_earlier_file() {
  if (!file_at_work_) return;
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

void StagedPart::stage(const CheckpointContents& contents, std::filesystem::path file, bool overlap, bool read_back) {
  drop_earlier_file();
  image_ = prepare_image(layout_->part, *memory_);
  WriteJob job{.path = std::move(file), .image = image_, .read_back = read_back};
  add_copies(contents, overlap, job);
  const auto compared = sources(layout_->plan, layout_->part.compared, contents);
  compared_later_.clear();
  for (std::size_t i = 0; i < compared.size(); ++i) {
    if (!overlap || compared[i].changes_in_forward) continue;
    job.compared.push_back(compared[i].bytes);
    compared_later_.push_back(i);
  }
  writer_.start(std::move(job));
  file_at_work_ = true;
  // What another rank writes is not copied here: its CRC-32C tells whether the two have the same bits. Taken last,
  // while the file is on its way.
  compared_crcs_.assign(compared.size(), 0);
  if (compared_later_.size() < compared.size()) writer_.hurry();
  for (std::size_t i = 0; i < compared.size(); ++i) {
    if (!overlap || compared[i].changes_in_forward) compared_crcs_[i] = crc32c(compared[i].bytes);
  }
  writer_.relax();
}

void StagedPart::add_copies(const CheckpointContents& contents, bool overlap, WriteJob& job) const {
  const auto& pieces = layout_->part.written;
  const auto from = sources(layout_->plan, pieces, contents);
  for (std::size_t i = 0; i < from.size(); ++i) {
    job.pieces.push_back({pieces[i].offset, pieces[i].bytes});
    const WriteJob::Copy copy{job.image.data() + pieces[i].offset, from[i].bytes.data(), from[i].bytes.size()};
    if (overlap && !from[i].changes_in_forward) {
      job.copies.push_back(copy);
    } else {
      std::memcpy(copy.to, copy.from, copy.bytes);
    }
  }
}

RankReport StagedPart::take_report() {
  file_at_work_ = false;
  WrittenFile written = writer_.take();
  for (std::size_t i = 0; i < compared_later_.size(); ++i)
    compared_crcs_[compared_later_[i]] = written.compared_crcs[i];
  RankReport report{.part = {.file = std::move(written.file), .offsets = {}, .crcs = std::move(written.piece_crcs)},
                    .compared_crcs = compared_crcs_};
  for (const Part::Piece& piece : layout_->part.written) report.part.offsets.push_back(piece.offset);
  return report;
}

Manifest StagedPart::manifest(std::span<const RankReport> reports) const {
  if (const std::string diverged = diverged_replicas(layout_->plan, reports); !diverged.empty()) {
    throw CheckpointError({.what = fmt::format("save step {}", contents_.step),
                           .why = fmt::format("ranks hold different bits of the same tensors: {}", diverged),
                           .fix = "nothing was saved, and older checkpoints are as they were; look for code that runs "
                                  "on some ranks only, or faulty memory on the host of a rank that stands alone"});
  }
  std::vector<PartReport> parts;
  for (const RankReport& report : reports) parts.push_back(report.part);
  return make_manifest(contents_, layout_->plan, parts);
}

}  // namespace lockstep
