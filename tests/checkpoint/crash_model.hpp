// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/operation_log.hpp"

namespace lockstep::testing {

// What became of a change that no fsync had covered when the power went.
enum class Fate {
  lost,
  kept,
  torn,   // of a write: some of its sectors of 512 bytes
  zeros,  // of a write: the file grew, the bytes did not come
};

// Decides for one crash. Alike for a change, however often it is asked about it.
struct Fates {
  enum class Rule { all_lost, all_kept, only_names_kept, only_data_kept, names_kept_data_torn, any };
  Rule rule = Rule::any;
  std::uint64_t seed = 0;  // of `any`, and of which sectors are torn
  [[nodiscard]] Fate of_data(std::uint64_t change) const;
  [[nodiscard]] Fate of_name(std::uint64_t change) const;
  [[nodiscard]] bool keeps_sector(std::uint64_t change, std::uint64_t sector) const;
};

// A file system that promises no more than POSIX: the bytes of a file are durable after an fsync of that file that
// began after the write had returned, a name in a folder after such an fsync of that folder; until then any subset of
// the changes may be on the disk, in any order. A rename inside a folder is one change, between folders it is two.
class CrashModel {
 public:
  // Which fsyncs it believes: crippled models show that a checker finds what a protocol forgot.
  enum class Believes { all, no_file_sync, no_folder_sync, none };
  CrashModel(std::filesystem::path root, Believes believes);

  void apply(const Operation& operation);  // kept: must outlive this

  // Path below root → the file's bytes, or nothing for a folder (whose path ends with a slash).
  using Disk = std::map<std::string, std::vector<std::byte>>;
  [[nodiscard]] Disk after_crash(const Fates& fates) const;

 private:
  struct NameChange {
    std::uint64_t at = 0;
    std::vector<std::pair<std::string, std::size_t>> names;  // to which node; kNothing: removed
  };
  struct Node {
    bool is_folder = false;
    std::vector<std::byte> durable{};            // of a file
    std::vector<const Operation*> unsynced{};    // of a file
    std::map<std::string, std::size_t> names{};  // of a folder, as the program sees it
    std::map<std::string, std::size_t> durable_names{};
    std::vector<NameChange> unsynced_names{};
  };
  struct Place {
    std::size_t folder = 0;
    std::string name{};
  };
  static constexpr std::size_t kNothing = static_cast<std::size_t>(-1);

  [[nodiscard]] Place place_of(const std::string& path) const;
  [[nodiscard]] std::size_t node_at(const Place& place) const;
  void add_node(const Operation& operation, bool is_folder);
  void rename(const Operation& operation);
  void set_names(std::size_t folder, std::uint64_t at, std::vector<std::pair<std::string, std::size_t>> names);
  void sync(const Operation& operation);
  void put_folder(Disk& disk, const std::string& path, const Node& folder, const Fates& fates) const;

  std::string root_;
  Believes believes_;
  std::vector<Node> nodes_;  // 0: the root
};

}  // namespace lockstep::testing
