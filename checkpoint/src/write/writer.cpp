// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/writer.hpp"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

#include "failure.hpp"
#include "format/step_folder.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "write/commit.hpp"
#include "write/file_writer.hpp"
#include "write/part.hpp"
#include "write/trash.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

WrittenFile write_part(const fs::path& path, const CheckpointContents& contents, const WritePlan& plan,
                       const Part& part) {
  StagingMemory memory;
  WriteJob job{.path = path, .image = prepare_image(part, memory)};
  const std::vector<PieceSource> from = sources(plan, part.written, contents);
  for (std::size_t i = 0; i < part.written.size(); ++i) {
    const Part::Piece& piece = part.written[i];
    job.copies.push_back({job.image.data() + piece.offset, from[i].bytes.data(), from[i].bytes.size()});
    job.pieces.push_back({piece.offset, piece.bytes});
  }
  FileWriter writer;
  writer.start(std::move(job));
  return writer.take();
}

fs::path write_into(const fs::path& unfinished, const CheckpointContents& contents, const WritePlan& plan) {
  const Part part = make_part(plan, 0);
  WrittenFile written = write_part(unfinished / part_name(0), contents, plan, part);
  PartReport report{.file = std::move(written.file), .offsets = {}, .crcs = std::move(written.piece_crcs)};
  for (const Part::Piece& piece : part.written) report.offsets.push_back(piece.offset);
  std::vector<std::string> hints;  // LATEST is no more than that
  KeptIndex index;
  return commit(unfinished, make_manifest(contents, plan, std::span(&report, 1)), index, hints);
}

}  // namespace

fs::path write_checkpoint(const fs::path& folder, const CheckpointContents& contents) {
  check_contents(contents);
  const WritePlan plan = plan_writes(std::array{held_slices(contents)});
  const fs::path path = checkpoint_path(folder, contents.step);
  fs::path unfinished;
  try {
    if (holds_good_checkpoint(path, contents.step)) return path;
    unfinished = make_unfinished_folder(folder, contents.step);
    return write_into(unfinished, contents, plan);
  } catch (...) {
    if (!unfinished.empty()) discard(unfinished);
    rethrow_as_checkpoint_error(fmt::format("write checkpoint {}", path.string()),
                                fmt::format("check the space and permissions of {}", folder.string()));
  }
}

void remove_unfinished_checkpoints(const fs::path& folder) {
  try {
    if (!fs::exists(folder)) return;
    std::vector<fs::path> unfinished;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (is_unfinished_name(entry.path().filename().string())) unfinished.push_back(entry.path());
    }
    for (const fs::path& path : unfinished) fs::remove_all(path);
    empty_trash(folder);
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("remove unfinished checkpoints in {}", folder.string()),
                                "check its permissions");
  }
}

}  // namespace lockstep
