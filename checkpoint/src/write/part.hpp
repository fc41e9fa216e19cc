// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/manifest.hpp"
#include "format/part_layout.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "plan/write_plan.hpp"
#include "write/file_writer.hpp"

namespace lockstep {

// Pure. Throws UsageError for what cannot be stored and is not plan_writes' to see: a negative step, slices without
// memory, texts that are not UTF-8.
void check_contents(const CheckpointContents& contents);

// Pure. What plan_writes wants to know of this rank's slices.
[[nodiscard]] std::vector<HeldSlice> held_slices(const CheckpointContents& contents);

// One rank's file: what it has of the plan, and where. It holds as long as the plan does.
struct Part {
  struct Piece {
    std::size_t tensor = 0;    // index into WritePlan::tensors
    std::size_t piece = 0;     // index into its pieces
    std::uint64_t offset = 0;  // of its first byte in the file
    std::uint64_t bytes = 0;   // never 0
  };
  PartLayout layout;
  std::vector<Piece> written;      // in the plan's order, as in WriteJob::pieces and PartReport
  std::vector<Piece> compared;     // held here and written by another rank; in the plan's order; without offsets
  std::vector<ByteRange> padding;  // of the image up to whole pages: neither metadata nor pieces
};

// Local. Calls lay_out_part(). A tensor that `rank` writes whole is a dataset in its shape, the pieces of any other lie
// one behind the other in a row of the same name.
[[nodiscard]] Part make_part(const WritePlan& plan, int rank);

// Local. The file's image in `memory`, with libhdf5's bytes and zeros in their places; the pieces are still to come.
// Throws IoError if memory is short.
std::span<std::byte> prepare_image(const Part& part, StagingMemory& memory);

// Where the caller has a piece. plan_writes cuts so that each lies within one slice of each of its holders.
struct PieceSource {
  std::span<const std::byte> bytes;
  bool changes_in_forward = false;
};

// Pure. By `pieces`, which are Part::written or Part::compared.
[[nodiscard]] std::vector<PieceSource> sources(const WritePlan& plan, std::span<const Part::Piece> pieces,
                                               const CheckpointContents& contents);

// What the rank that commits must know of each writer's file.
struct PartReport {
  FileRecord file;
  std::vector<std::uint64_t> offsets;  // by Part::written
  std::vector<std::uint32_t> crcs;     // the same
};

// Pure. All but index.h5; `reports` by rank. Throws IoError if a report does not fit the plan.
[[nodiscard]] Manifest make_manifest(const CheckpointContents& contents, const WritePlan& plan,
                                     std::span<const PartReport> reports);

}  // namespace lockstep
