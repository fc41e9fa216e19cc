// SPDX-License-Identifier: Apache-2.0
#include "flight_registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/comm/flight_recorder.hpp"

namespace lockstep::flight {
namespace {

namespace fs = std::filesystem;

// Whose files are written.
constexpr int kProcess = -1;  // the one rank of this process; ranks that are threads go by their number
constexpr int kEverybody = -2;

class Registry {
 public:
  std::shared_ptr<Group> add(const comm::Backend& backend, std::string name, const Group* parent,
                             std::string_view branch);
  std::string note_failure(Group& group, const comm::Failure& failure);
  void dump(const fs::path& folder, int owner, std::string_view reason);
  void dump_as_requested();
  void set_folder(const fs::path& folder);

 private:
  void forget_unused();
  Rank& add_root(const comm::Backend& backend, int owner);
  void write(const fs::path& folder, int owner, const Rank& rank, std::string_view reason) const;
  [[nodiscard]] fs::path folder() const;

  std::mutex mutex_;
  fs::path folder_;                             // guarded, like all below
  std::map<int, Rank> ranks_;                   // by owner
  std::map<int, fs::path> written_;             // by owner: where its file was last written to
  std::vector<std::shared_ptr<Group>> groups_;  // those with calls in the ring, at least
  std::uint32_t next_number_ = 0;
};

// Never destroyed: works may fail while the process ends.
Registry& registry() {
  static auto& the_only_one = *new Registry;
  return the_only_one;
}

Rank& Registry::add_root(const comm::Backend& backend, int owner) {
  Rank& rank = ranks_[owner];
  if (rank.roots++ == 0) {
    rank.rank = backend.rank();
    rank.world_size = backend.world_size();
    rank.peers = backend.peers();
  }
  return rank;
}

void Registry::forget_unused() {
  std::erase_if(groups_, [](const std::shared_ptr<Group>& group) {
    if (group.use_count() > 1) return false;
    if (group->dead_since == 0) group->dead_since = recorded() + 1;
    return group->dead_since + kEntries < recorded();
  });
}

std::shared_ptr<Group> Registry::add(const comm::Backend& backend, std::string name, const Group* parent,
                                     std::string_view branch) {
  const std::lock_guard lock(mutex_);
  forget_unused();
  auto group = std::make_shared<Group>();
  if (parent != nullptr) {
    group->owner = parent->owner;
    group->id = fmt::format("{}/{}", parent->id, branch);
  } else {
    group->owner = backend.name() == "local" ? backend.rank() : kProcess;
    const int earlier = add_root(backend, group->owner).roots - 1;
    group->id = earlier == 0 ? name : fmt::format("{}~{}", name, earlier);
  }
  group->number = next_number_++;
  group->name = std::move(name);
  group->backend = backend.name();
  group->rank = backend.rank();
  group->world_size = backend.world_size();
  groups_.push_back(group);
  return group;
}

void Registry::set_folder(const fs::path& folder) {
  const std::lock_guard lock(mutex_);
  folder_ = folder.empty() ? folder : fs::absolute(folder);  // the program may change its working directory
}

fs::path Registry::folder() const {
  const auto given = environment_variable("LOCKSTEP_FLIGHT_DIR");
  return given ? fs::absolute(*given) : folder_;
}

void Registry::write(const fs::path& folder, int owner, const Rank& rank, std::string_view reason) const {
  std::vector<const Group*> groups;
  for (const auto& group : groups_) {
    if (group->owner == owner) groups.push_back(group.get());
  }
  write_file_durably(folder / fmt::format("flight-rank-{}.json", rank.rank),
                     dump_text(rank, reason, groups, snapshot()));
}

void Registry::dump(const fs::path& folder, int owner, std::string_view reason) {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) throw IoError({.what = "folder " + folder.string(), .why = "it cannot be made: " + error.message()});
  for (const auto& [key, rank] : ranks_) {
    // A rank that is a thread may never come to write its own.
    if (owner != kEverybody && owner != key && written_[key] == folder) continue;
    write(folder, key, rank, reason);
    written_[key] = folder;
  }
}

std::string Registry::note_failure(Group& group, const comm::Failure& failure) {
  fs::path to;
  {
    const std::lock_guard lock(mutex_);
    group.failure = NotedFailure{failure.kind, failure.why, std::chrono::steady_clock::now()};
    to = folder();
  }
  if (to.empty()) return {};
  try {
    dump(to, group.owner, "failure");
    return fmt::format("for the last calls of every rank: lockstep recorder merge {}", to.string());
  } catch (const Error& error) {
    return fmt::format("(the flight recorder could not be written: {}: {})", error.text().what, error.text().why);
  }
}

void Registry::dump_as_requested() {
  fs::path to;
  {
    const std::lock_guard lock(mutex_);
    to = folder();
  }
  if (to.empty()) {
    throw UsageError(
        {.what = "writing the flight recorder", .why = "there is no folder for it", .fix = "set LOCKSTEP_FLIGHT_DIR"});
  }
  dump(to, kEverybody, "request");
}

}  // namespace

std::shared_ptr<Group> add_group(const comm::Backend& backend, std::string name, const Group* parent,
                                 std::string_view branch) {
  listen_if_asked();
  return registry().add(backend, std::move(name), parent, branch);
}

std::string note_failure(Group& group, const comm::Failure& failure) noexcept {
  try {
    return registry().note_failure(group, failure);
  } catch (const std::exception&) {  // out of memory: the failure itself matters more
    return {};
  }
}

void dump_as_requested() noexcept {
  try {
    registry().dump_as_requested();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "warning: %s\n", error.what());
  }
}

}  // namespace lockstep::flight

namespace lockstep {

void dump_flight_recorder(const std::filesystem::path& folder) {
  flight::registry().dump(folder, flight::kEverybody, "call");
}

void set_flight_folder(const std::filesystem::path& folder) { flight::registry().set_folder(folder); }

}  // namespace lockstep
