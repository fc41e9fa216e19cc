// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/crash_model.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "lockstep/base/mix.hpp"

namespace lockstep::testing {
namespace {

using shim::Kind;

constexpr std::uint64_t kSector = 512;

std::uint64_t draw(std::uint64_t seed, std::uint64_t change, std::uint64_t part = 0) {
  return mix_bits(seed + kGoldenGamma * (change + 1) + mix_bits(part + 1));
}

void grow(std::vector<std::byte>& bytes, std::uint64_t size) {
  if (bytes.size() < size) bytes.resize(size);
}

void change_bytes(std::vector<std::byte>& bytes, const Operation& operation, Fate fate, const Fates& fates) {
  if (fate == Fate::lost) return;
  const auto offset = static_cast<std::uint64_t>(operation.offset);
  if (operation.kind == Kind::truncate) return bytes.resize(offset);
  const std::uint64_t end = offset + operation.length;
  grow(bytes, end);
  if (operation.kind == Kind::allocate || fate == Fate::zeros) return;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t next = std::min(end, (at / kSector + 1) * kSector);
    if (fate == Fate::kept || fates.keeps_sector(operation.at, at / kSector)) {
      std::copy_n(operation.bytes.begin() + static_cast<std::ptrdiff_t>(at - offset), next - at,
                  bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
    at = next;
  }
}

}  // namespace

Fate Fates::of_data(std::uint64_t change) const {
  switch (rule) {
    case Rule::all_lost:
    case Rule::only_names_kept:
      return Fate::lost;
    case Rule::all_kept:
    case Rule::only_data_kept:
      return Fate::kept;
    case Rule::names_kept_data_torn:
      return Fate::torn;
    case Rule::any:
      break;
  }
  return std::array{Fate::lost, Fate::kept, Fate::torn, Fate::zeros}[draw(seed, change) % 4];
}

Fate Fates::of_name(std::uint64_t change) const {
  if (rule == Rule::any) return draw(seed, change) % 2 == 0 ? Fate::lost : Fate::kept;
  return rule == Rule::all_lost || rule == Rule::only_data_kept ? Fate::lost : Fate::kept;
}

bool Fates::keeps_sector(std::uint64_t change, std::uint64_t sector) const {
  return draw(seed, change, sector) % 2 == 0;
}

CrashModel::CrashModel(std::filesystem::path root, Believes believes) : root_(root.string()), believes_(believes) {
  nodes_.push_back({.is_folder = true});
}

void CrashModel::apply(const Operation& operation) {
  switch (operation.kind) {
    case Kind::create:
      return add_node(operation, false);
    case Kind::make_folder:
      return add_node(operation, true);
    case Kind::truncate:
    case Kind::allocate:
    case Kind::write:
      return nodes_[node_at(place_of(operation.path))].unsynced.push_back(&operation);
    case Kind::sync:
      return sync(operation);
    case Kind::rename:
      return rename(operation);
    case Kind::unlink: {
      const Place place = place_of(operation.path);
      return set_names(place.folder, operation.at, {{place.name, kNothing}});
    }
    case Kind::note:
      return;
  }
}

CrashModel::Place CrashModel::place_of(const std::string& path) const {
  if (path == root_) return {};
  if (!path.starts_with(root_ + "/")) throw std::runtime_error("not below the root: " + path);
  Place place;
  std::size_t begin = root_.size() + 1;
  for (std::size_t slash = path.find('/', begin); slash != std::string::npos; slash = path.find('/', begin)) {
    place.folder = node_at({place.folder, path.substr(begin, slash - begin)});
    begin = slash + 1;
  }
  place.name = path.substr(begin);
  return place;
}

std::size_t CrashModel::node_at(const Place& place) const {
  if (place.name.empty()) return place.folder;
  const auto found = nodes_[place.folder].names.find(place.name);
  if (found == nodes_[place.folder].names.end()) throw std::runtime_error("the log names what is not: " + place.name);
  return found->second;
}

void CrashModel::add_node(const Operation& operation, bool is_folder) {
  const Place place = place_of(operation.path);
  nodes_.push_back({.is_folder = is_folder});
  set_names(place.folder, operation.at, {{place.name, nodes_.size() - 1}});
}

void CrashModel::rename(const Operation& operation) {
  const Place from = place_of(operation.path);
  const Place to = place_of(operation.other_path);
  const std::size_t node = node_at(from);
  if (from.folder == to.folder) return set_names(to.folder, operation.at, {{to.name, node}, {from.name, kNothing}});
  set_names(to.folder, operation.at, {{to.name, node}});
  set_names(from.folder, operation.at + 1, {{from.name, kNothing}});  // a fate of its own
}

void CrashModel::set_names(std::size_t folder, std::uint64_t at,
                           std::vector<std::pair<std::string, std::size_t>> names) {
  Node& node = nodes_[folder];
  for (const auto& [name, target] : names) {
    if (target == kNothing) {
      node.names.erase(name);
    } else {
      node.names[name] = target;
    }
  }
  node.unsynced_names.push_back({at, std::move(names)});
}

void CrashModel::sync(const Operation& operation) {
  Node& node = nodes_[node_at(place_of(operation.path))];
  const Believes ignored = node.is_folder ? Believes::no_folder_sync : Believes::no_file_sync;
  if (believes_ == Believes::none || believes_ == ignored) return;
  std::erase_if(node.unsynced, [&](const Operation* change) {
    if (change->at >= operation.began_at) return false;
    change_bytes(node.durable, *change, Fate::kept, {});
    return true;
  });
  std::erase_if(node.unsynced_names, [&](const NameChange& change) {
    if (change.at >= operation.began_at) return false;
    for (const auto& [name, target] : change.names) {
      if (target == kNothing) {
        node.durable_names.erase(name);
      } else {
        node.durable_names[name] = target;
      }
    }
    return true;
  });
}

CrashModel::Disk CrashModel::after_crash(const Fates& fates) const {
  Disk disk;
  put_folder(disk, "", nodes_[0], fates);
  return disk;
}

void CrashModel::put_folder(Disk& disk, const std::string& path, const Node& folder, const Fates& fates) const {
  std::map<std::string, std::size_t> names = folder.durable_names;
  for (const NameChange& change : folder.unsynced_names) {
    if (fates.of_name(change.at) == Fate::lost) continue;
    for (const auto& [name, target] : change.names) names[name] = target;
  }
  for (const auto& [name, target] : names) {
    if (target == kNothing) continue;
    const Node& node = nodes_[target];
    if (node.is_folder) {
      disk[path + name + "/"];
      put_folder(disk, path + name + "/", node, fates);
    } else {
      std::vector<std::byte> bytes = node.durable;
      for (const Operation* change : node.unsynced) change_bytes(bytes, *change, fates.of_data(change->at), fates);
      disk[path + name] = std::move(bytes);
    }
  }
}

}  // namespace lockstep::testing
