// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/communicator.hpp"
#include "save/exchange.hpp"
#include "save/node_folder.hpp"
#include "save/partner_search.hpp"
#include "write/commit.hpp"
#include "write/small_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class PartnerRestore {
 public:
  PartnerRestore(Communicator& world, const PartnerOptions& options)
      : world_(world),
        placement_(world, options.nodes),
        folder_(options.folder),
        node_(placement_.node_of(world.rank())),
        own_(node_folder(folder_, placement_.number_of(node_))) {}

  AgreedSearch run();

 private:
  [[nodiscard]] bool is_first_of_node() const { return placement_.first_rank_of(node_) == world_.rank(); }
  void look_for_folders();
  [[nodiscard]] std::string damage_of(const Manifest& manifest, const FileHoldings& holdings) const;
  void complete(const Manifest& manifest, const std::string& text, const FileHoldings& holdings);
  [[nodiscard]] fs::path share_unfinished(const Manifest& manifest, bool needed);
  void link_files(const Manifest& manifest, const FileHoldings& holdings, const fs::path& unfinished) const;
  void remove_other_nodes();

  Communicator& world_;
  Placement placement_;
  fs::path folder_;
  int node_;
  fs::path own_;                   // this node's folder
  std::vector<fs::path> folders_;  // of all numbers on this host, this node's first
};

AgreedSearch PartnerRestore::run() {
  agree(world_, [&] {
    if (is_first_of_node()) prepare_node_folder(own_);
  });
  std::optional<ManifestSearch> manifests;
  agree(world_, [&] {
    look_for_folders();
    manifests.emplace(is_first_of_node() ? folders_ : std::vector<fs::path>());
  });
  AgreedSearch search;
  while (const auto text = manifests->next(world_)) {
    Manifest manifest;
    std::optional<FileHoldings> holdings;
    agree(world_, [&] {
      manifest = parse_manifest(*text, kManifestName);
      holdings.emplace(placement_, world_.rank(), manifest, *text, folders_);
    });
    holdings->exchange(world_);
    const fs::path path = checkpoint_path(own_, manifest.step);
    if (const std::string damage = damage_of(manifest, *holdings); !damage.empty()) {
      search.damaged.push_back({path, damage});
      continue;
    }
    complete(manifest, *text, *holdings);
    remove_other_nodes();
    search.newest_good = path;
    break;
  }
  return search;
}

// Node numbers may have changed since the save.
void PartnerRestore::look_for_folders() {
  folders_ = node_folders(folder_);
  std::erase(folders_, own_);
  folders_.insert(folders_.begin(), own_);
}

std::string PartnerRestore::damage_of(const Manifest& manifest, const FileHoldings& holdings) const {
  constexpr std::size_t kNamed = 8;
  const auto lost = holdings.lost();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(lost.size(), kNamed); ++i) names.push_back(manifest.files[lost[i]].name);
  if (lost.size() > kNamed) names.push_back(fmt::format("{} more", lost.size() - kNamed));
  return names.empty() ? "" : fmt::format("no node has an undamaged {}", fmt::join(names, ", "));
}

// Collective. The node's unfinished folder, empty where none is needed.
fs::path PartnerRestore::share_unfinished(const Manifest& manifest, bool needed) {
  std::string name;
  agree(world_, [&] {
    if (needed && is_first_of_node()) name = make_unfinished_folder(own_, manifest.step).filename().string();
  });
  const auto names = exchange_names(world_, name);
  const std::string& shared = names[static_cast<std::size_t>(placement_.first_rank_of(node_))];
  return shared.empty() ? fs::path() : own_ / shared;
}

// Hard links: other nodes of this host may be reading, and the bytes need no second place.
void PartnerRestore::link_files(const Manifest& manifest, const FileHoldings& holdings,
                                const fs::path& unfinished) const {
  for (std::size_t file = 0; file < manifest.files.size(); ++file) {
    const fs::path found = holdings.found(file);
    if (found.empty()) continue;
    if (::link(found.c_str(), (unfinished / manifest.files[file].name).c_str()) != 0) throw_errno("link", found);
  }
}

// Collective. Afterwards the node's folder has all of the checkpoint.
void PartnerRestore::complete(const Manifest& manifest, const std::string& text, const FileHoldings& holdings) {
  const bool needed = !holdings.is_whole(node_);
  const fs::path unfinished = share_unfinished(manifest, needed);
  OwnFailure failure;
  move_files(
      world_, manifest, holdings.moves(manifest), [&](std::size_t file) { return holdings.found(file); },
      [&](std::size_t file) { return unfinished / manifest.files[file].name; }, failure);
  if (needed) failure.note([&] { link_files(manifest, holdings, unfinished); });
  const std::string failed = failure.agreed(world_);
  if (!failed.empty()) {
    if (needed && is_first_of_node()) discard(unfinished);
    throw AgreedError({.what = fmt::format("restore step {} from partner copies", manifest.step),
                       .why = failed,
                       .fix = "make room, or start without the host of that rank"},
                      ExitCode::io);
  }
  agree(world_, [&] {
    if (!needed || !is_first_of_node()) return;
    write_new_file(unfinished / kManifestName, std::as_bytes(std::span(text)));
    fsync_path(unfinished);
    put_in_place(unfinished, manifest.step);
  });
}

// Local. Folders of numbers that no node has now would never be removed by retention. One that another node has may be
// its folder: `folder_` could be on a disk that nodes share.
void PartnerRestore::remove_other_nodes() {
  if (!is_first_of_node()) return;
  std::set<fs::path> current;
  for (int rank = 0; rank < world_.world_size(); ++rank) {
    current.insert(node_folder(folder_, placement_.number_of(placement_.node_of(rank))));
  }
  for (const fs::path& folder : folders_) {
    std::error_code left_to_the_next_restore;
    if (!current.contains(folder)) fs::remove_all(folder, left_to_the_next_restore);
  }
}

}  // namespace

AgreedSearch restore_from_partners(Communicator& world, const PartnerOptions& options) {
  return PartnerRestore(world, options).run();
}

}  // namespace lockstep
