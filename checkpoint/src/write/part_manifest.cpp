// SPDX-License-Identifier: Apache-2.0
// What of a checkpoint's contents goes into its manifest.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/version.hpp"
#include "write/part.hpp"

namespace lockstep {
namespace {

[[noreturn]] void refuse(const std::string& subject, const std::string& why, const std::string& fix) {
  throw UsageError({.what = fmt::format("save {}", subject), .why = why, .fix = fix});
}

// As print_manifest() finds out, but before anything is written.
void check_text(const std::string& subject, const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
  } catch (const nlohmann::json::exception& error) {
    refuse(subject, error.what(), "use text in UTF-8");
  }
}

// Takes the reports' entries in the plan's order.
class ReportReader {
 public:
  explicit ReportReader(std::span<const PartReport> reports) : reports_(reports), next_(reports.size()) {
    for (std::size_t rank = 0; rank < reports.size(); ++rank) {
      const PartReport& report = reports[rank];
      if (report.offsets.size() != report.crcs.size() || report.file.name != part_name(static_cast<int>(rank))) {
        contradict(rank);
      }
    }
  }

  PieceRecord record_of(const WritePlan::Piece& piece) {
    const auto rank = static_cast<std::size_t>(piece.writer);
    if (rank >= reports_.size() || next_[rank] == reports_[rank].offsets.size()) contradict(rank);
    const std::size_t i = next_[rank]++;
    return {.file = rank,
            .offset = reports_[rank].offsets[i],
            .first_element = piece.first_element,
            .elements = piece.elements,
            .crc = reports_[rank].crcs[i]};
  }

  void check_end() const {
    for (std::size_t rank = 0; rank < reports_.size(); ++rank) {
      if (next_[rank] != reports_[rank].offsets.size()) contradict(rank);
    }
  }

 private:
  [[noreturn]] static void contradict(std::size_t rank) {
    throw IoError({.what = fmt::format("commit what rank {} wrote", rank),
                   .why = "its report does not fit the plan",
                   .fix = "run the same lockstep with the same state on every rank"});
  }

  std::span<const PartReport> reports_;
  std::vector<std::size_t> next_;
};

}  // namespace

void check_contents(const CheckpointContents& contents) {
  const DeterminismRecord& determinism = contents.determinism;
  if (contents.step < 0 || determinism.micro_batches < 1 || determinism.intra_op_threads < 1) {
    refuse(fmt::format("step {}", contents.step),
           fmt::format("{} micro-batches and {} intra-op threads cannot have made it", determinism.micro_batches,
                       determinism.intra_op_threads),
           "give a step of at least 0 and counts of at least 1");
  }
  check_text("the version of LibTorch", determinism.libtorch);
  check_text("the CPU's capability", determinism.cpu_capability);
  check_text("the device's name", determinism.device);
  for (const TensorSlice& slice : contents.tensors) {
    check_text(fmt::format("\"{}\"", slice.name), slice.name);
    if (slice.data == nullptr && slice.elements > 0) refuse(slice.name, "its data is null", "give its bytes");
  }
  for (const auto& [name, text] : contents.blobs) {
    check_text(fmt::format("the blob \"{}\"", name), name);
    check_text(fmt::format("the blob \"{}\"", name), text);
  }
  for (const auto& [name, value] : contents.metrics) check_text(fmt::format("the metric \"{}\"", name), name);
}

std::vector<HeldSlice> held_slices(const CheckpointContents& contents) {
  std::vector<HeldSlice> slices;
  slices.reserve(contents.tensors.size());
  for (const TensorSlice& slice : contents.tensors) {
    slices.push_back({slice.name, slice.dtype, slice.global_shape, slice.first_element, slice.elements});
  }
  return slices;
}

Manifest make_manifest(const CheckpointContents& contents, const WritePlan& plan, std::span<const PartReport> reports) {
  Manifest manifest{.lockstep = std::string(version()),
                    .step = contents.step,
                    .world_size = static_cast<int>(reports.size()),
                    .seed = contents.seed,
                    .determinism = contents.determinism,
                    .blobs = {contents.blobs.begin(), contents.blobs.end()}};
  for (const auto& [name, value] : contents.metrics) {
    if (std::isfinite(value)) manifest.metrics.emplace_back(name, value);  // JSON has no other numbers
  }
  for (const PartReport& report : reports) manifest.files.push_back(report.file);
  ReportReader reader(reports);
  manifest.tensors.reserve(plan.tensors.size());
  for (const WritePlan::Tensor& tensor : plan.tensors) {
    TensorRecord record{.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape};
    for (const WritePlan::Piece& piece : tensor.pieces) record.pieces.push_back(reader.record_of(piece));
    manifest.tensors.push_back(std::move(record));
  }
  reader.check_end();
  return manifest;
}

}  // namespace lockstep
