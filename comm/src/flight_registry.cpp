// SPDX-License-Identifier: Apache-2.0
#include "flight_registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/comm/flight_recorder.hpp"

namespace lockstep::flight {
namespace {

namespace fs = std::filesystem;

constexpr int kProcess = -1;
constexpr int kEverybody = -2;  // all owners

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
  std::shared_ptr<Root> add_root(const comm::Backend& backend, const std::string& name);
  [[nodiscard]] std::map<int, std::vector<const Group*>> groups_of_owners() const;
  [[nodiscard]] fs::path folder() const;

  std::mutex mutex_;
  fs::path folder_;                             // guarded, like all below
  std::map<std::pair<int, int>, int> roots_;    // how many there were, by owner and size
  std::vector<std::shared_ptr<Group>> groups_;  // those with calls in the ring, at least
  std::uint32_t next_number_ = 0;
};

// Never destroyed: works may fail while the process ends.
Registry& registry() {
  static auto& the_only_one = *new Registry;
  return the_only_one;
}

std::shared_ptr<Root> Registry::add_root(const comm::Backend& backend, const std::string& name) {
  const int owner = backend.name() == "local" ? backend.rank() : kProcess;
  // A rank that is a thread is in all jobs of as many threads, so that all of a job's ranks count alike.
  const int earlier = roots_[owner == kProcess ? std::pair(kProcess, 0) : std::pair(owner, backend.world_size())]++;
  return std::make_shared<Root>(Root{.id = earlier == 0 ? name : fmt::format("{}~{}", name, earlier),
                                     .owner = owner,
                                     .rank = backend.rank(),
                                     .world_size = backend.world_size(),
                                     .peers = backend.peers()});
}

void Registry::forget_unused() {
  std::erase_if(groups_, [](const std::shared_ptr<Group>& group) {
    if (group->open.load(std::memory_order_relaxed)) return false;
    if (group->closed_at == 0) group->closed_at = recorded() + 1;
    return group->closed_at + kEntries < recorded();
  });
}

std::shared_ptr<Group> Registry::add(const comm::Backend& backend, std::string name, const Group* parent,
                                     std::string_view branch) {
  const std::lock_guard lock(mutex_);
  forget_unused();
  auto group = std::make_shared<Group>();
  group->root = parent != nullptr ? parent->root : add_root(backend, name);
  group->id = parent != nullptr ? fmt::format("{}/{}", parent->id, branch) : group->root->id;
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

// Of roots that are in use on some rank: those of jobs that have ended would only confuse.
std::map<int, std::vector<const Group*>> Registry::groups_of_owners() const {
  std::set<std::pair<std::string, int>> in_use;
  for (const auto& group : groups_) {
    if (group->open.load(std::memory_order_relaxed)) in_use.emplace(group->root->id, group->root->world_size);
  }
  std::map<int, std::vector<const Group*>> groups;
  for (const auto& group : groups_) {
    if (in_use.contains({group->root->id, group->root->world_size})) groups[group->root->owner].push_back(group.get());
  }
  return groups;
}

void Registry::dump(const fs::path& folder, int owner, std::string_view reason) {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) throw IoError({.what = "folder " + folder.string(), .why = "it cannot be made: " + error.message()});
  for (const auto& [key, groups] : groups_of_owners()) {
    // A rank that is a thread may never come to write its own.
    Root& root = *groups.front()->root;
    if (owner != kEverybody && owner != key && root.written_to == folder) continue;
    write_file_durably(folder / fmt::format("flight-rank-{}.json", root.rank), dump_text(reason, groups, snapshot()));
    root.written_to = folder;
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
    dump(to, group.root->owner, "failure");
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
