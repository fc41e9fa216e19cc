// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/file_moves.hpp"
#include "save/placement.hpp"

namespace lockstep {

// The manifests that nodes have, newest first. A step that was saved twice, say after a crash, may have two.
class ManifestSearch {
 public:
  // Local. Those below `folders`, of which this rank looks after all. Damaged ones do not count. Throws CannotLook.
  explicit ManifestSearch(const std::vector<std::filesystem::path>& folders);
  // Collective. The next one's text, that any rank has; nothing: there is no more.
  [[nodiscard]] std::optional<std::string> next(Communicator& world);

 private:
  struct Found {
    std::int64_t step = 0;
    std::int64_t hash = 0;  // of the text
    std::string text{};
  };
  std::vector<Found> found_;  // by step and hash, newest last
};

// Where the files of one checkpoint are. Of each node, the keeper of a file looks for it.
class FileHoldings {
 public:
  // How well a node has a file. What is in place in one folder, MANIFEST among it, is a whole checkpoint.
  enum class Held : std::int64_t { no, elsewhere, in_place };

  // Local. Looks for this rank's share below `folders`, the node's own first, and verifies what it finds. `text`: that
  // of MANIFEST. Throws CannotLook.
  FileHoldings(const Placement& placement, int rank, const Manifest& manifest, const std::string& text,
               const std::vector<std::filesystem::path>& folders);
  // Collective. What the others found.
  void exchange(Communicator& world);

  [[nodiscard]] std::filesystem::path found(std::size_t file) const { return found_[file]; }  // by this rank
  [[nodiscard]] Held held(int node, std::size_t file) const;
  [[nodiscard]] bool is_whole(int node) const;
  [[nodiscard]] std::vector<std::size_t> lost() const;  // files that no node has
  // What brings every file to every node; none is lost.
  [[nodiscard]] std::vector<FileMove> moves(const Manifest& manifest) const;

 private:
  [[nodiscard]] std::size_t at(int node, std::size_t file) const {
    return static_cast<std::size_t>(node) * (files_ + 1) + file;
  }
  const Placement& placement_;
  std::size_t files_;
  std::vector<std::filesystem::path> found_;
  std::vector<std::int64_t> held_;  // by node, and in it by file; MANIFEST comes last
};

}  // namespace lockstep
