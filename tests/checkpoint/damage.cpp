// SPDX-License-Identifier: Apache-2.0
// checkpoint_damage COUNT SEED: damages the newer of two checkpoints, written by 1 to 4 ranks, in a random way: flipped
// bits, overwritten bytes, blocks written twice, files that are cut, longer, gone, empty, exchanged, replaced by a
// link, a folder or another file. find_checkpoint must tell it, name a damaged file, and the damaged tensor where bytes
// of one changed, and give the older checkpoint, all of whose bytes are as they were. Anything else, another exception
// or a crash too, is a failure.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "checkpoint/raw_checkpoint.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::RawState;

// A block whose bytes changed, and those of the tensors in it that did; "metadata" if none did.
struct DamagedBlock {
  std::uint64_t first = 0;
  std::vector<std::string> names{};
};

// What was done, for a message that names one of the files and describes one of the blocks.
struct Damage {
  std::string what;
  std::vector<std::string> files{};
  std::vector<DamagedBlock> blocks{};  // none if the damage is seen before blocks are
};

// Files and their bytes, to be changed and put back.
class Files {
 public:
  explicit Files(fs::path folder) : folder_(std::move(folder)) {
    for (const std::string& name : test::names_in(folder_)) bytes_[name] = test::read_text(folder_ / name);
  }
  [[nodiscard]] fs::path path(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] const std::string& bytes(const std::string& name) const { return bytes_.at(name); }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : bytes_) names.push_back(name);
    return names;
  }
  void restore() const {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    for (const auto& [name, bytes] : bytes_) test::write_bytes(folder_ / name, bytes);
  }

 private:
  fs::path folder_;
  std::map<std::string, std::string> bytes_;
};

class Campaign {
 public:
  explicit Campaign(std::uint64_t seed) : random_(seed) {}

  void trial() {
    if (trials_++ % kTrialsOfOne == 0) write_checkpoints();
    const Damage damage = (this->*kKinds[below(kKinds.size())])();
    if (damage.what.empty()) return;  // it would have changed nothing
    ++counts_[damage.what];
    const std::string fault = fault_of(damage);
    files_->restore();
    if (fault.empty()) return;
    ++failures_;
    std::printf("FAILED: %s of %s: %s\n", damage.what.c_str(), damage.files.at(0).c_str(), fault.c_str());
  }

  [[nodiscard]] int report() const {
    for (const auto& [what, count] : counts_) std::printf("%-28s %6d\n", what.c_str(), count);
    std::printf("%d failed\n", failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  static constexpr int kTrialsOfOne = 50;  // on the same checkpoints

  std::size_t below(std::size_t bound) { return random_() % bound; }
  const std::string& any_file() { return names_[below(names_.size())]; }

  void write_checkpoints() {
    fs::remove_all(folder_.path());
    fs::create_directory(folder_.path());
    older_ = test::small_raw_state(1);
    RawState newer = test::small_raw_state(2);
    for (int i = 0; i < 10; ++i) newer.add(fmt::format("/model/layer{}.w", i), DType::float32, {1 + i * 700});
    const int writers = 1 + static_cast<int>(below(4));
    test::write_raw(folder_.path(), older_, writers, random_());
    const fs::path path = test::write_raw(folder_.path(), newer, writers, random_());
    files_.emplace(path);
    names_ = files_->names();
    manifest_ = test::manifest_of(path);
  }

  // Writes `bytes` over the file's own.
  Damage change(const std::string& what, const std::string& name, const std::string& bytes) {
    const std::string& before = files_->bytes(name);
    if (bytes == before) return {};
    test::write_bytes(files_->path(name), bytes);
    Damage damage{.what = what, .files = {name}};
    const auto file = std::ranges::find(manifest_.files, name, &FileRecord::name) - manifest_.files.begin();
    if (bytes.size() != before.size() || file == std::ssize(manifest_.files)) return damage;
    for (std::size_t first = 0; first < bytes.size(); first += kBlockBytes) {
      const std::size_t last = std::min<std::size_t>(first + kBlockBytes, bytes.size());
      const auto changed = [&](std::size_t from, std::size_t to) {
        return from < to && before.compare(from, to - from, bytes, from, to - from) != 0;
      };
      if (!changed(first, last)) continue;
      damage.blocks.push_back({.first = first});
      for (const TensorRecord& tensor : manifest_.tensors) {
        const auto is_changed = [&](const PieceRecord& piece) {
          const std::size_t end = piece.offset + static_cast<std::size_t>(piece.elements) * size_of(tensor.dtype);
          return std::cmp_equal(piece.file, file) &&
                 changed(std::max<std::size_t>(piece.offset, first), std::min(end, last));
        };
        if (std::ranges::any_of(tensor.pieces, is_changed)) damage.blocks.back().names.push_back(tensor.name);
      }
      if (damage.blocks.back().names.empty()) damage.blocks.back().names.emplace_back("metadata");
    }
    return damage;
  }

  Damage flip_bits() {
    const std::string& name = any_file();
    std::string bytes = files_->bytes(name);
    for (std::size_t left = 1 + below(3); left > 0; --left) {
      char& byte = bytes[below(bytes.size())];
      byte = static_cast<char>(byte ^ (1 << below(8)));
    }
    return change("bits flipped", name, bytes);
  }
  Damage overwrite() {
    const std::string& name = any_file();
    std::string bytes = files_->bytes(name);
    const std::size_t first = below(bytes.size());
    const std::size_t count = std::min(bytes.size() - first, std::size_t{1} << below(18));
    const bool zeros = below(2) == 0;  // what a lost page leaves
    for (std::size_t i = 0; i < count; ++i) bytes[first + i] = zeros ? '\0' : static_cast<char>(random_());
    return change(zeros ? "bytes zeroed" : "bytes overwritten", name, bytes);
  }
  Damage repeat_block() {
    const std::string& name = any_file();
    std::string bytes = files_->bytes(name);
    const std::size_t count = std::min(bytes.size() / 2, std::size_t{512} << below(9));
    const std::size_t blocks = bytes.size() / count;
    const std::string block = bytes.substr(below(blocks) * count, count);
    return change("a block written twice", name, bytes.replace(below(blocks) * count, count, block));
  }
  Damage cut() {
    const std::string& name = any_file();
    return change("cut", name, files_->bytes(name).substr(0, below(files_->bytes(name).size())));
  }
  Damage grow() {
    const std::string& name = any_file();
    const char byte = below(2) == 0 ? '\0' : static_cast<char>(random_());
    return change("longer", name, files_->bytes(name) + std::string(1 + below(100'000), byte));
  }
  Damage empty() { return change("empty", any_file(), ""); }
  Damage remove() {
    const std::string& name = any_file();
    fs::remove(files_->path(name));
    return {.what = "gone", .files = {name}};
  }
  Damage exchange() {
    const std::string& one = any_file();
    const std::string& other = any_file();
    if (one == other) return {};
    test::write_bytes(files_->path(one), files_->bytes(other));
    test::write_bytes(files_->path(other), files_->bytes(one));
    return {.what = "exchanged", .files = {one, other}};
  }
  Damage link() {
    const std::string& name = any_file();
    const fs::path target = folder_.path() / "elsewhere";
    test::write_bytes(target, files_->bytes(name));
    fs::remove(files_->path(name));
    fs::create_symlink(target, files_->path(name));
    return {.what = "a link in its place", .files = {name}};
  }
  Damage replace_by_folder() {
    const std::string& name = any_file();
    fs::remove(files_->path(name));
    fs::create_directory(files_->path(name));
    return {.what = "a folder in its place", .files = {name}};
  }
  // Of the older checkpoint: a backup that went wrong.
  Damage replace_by_older() {
    const std::string& name = any_file();
    Damage damage = change("that of another step", name, test::read_text(checkpoint_path(folder_.path(), 1) / name));
    if (name == kManifestName) damage.files.push_back("step-00000002");  // good by itself, and in the wrong folder
    return damage;
  }

  // Why the search did not do what it should; empty if it did.
  [[nodiscard]] std::string fault_of(const Damage& damage) const {
    try {
      const CheckpointSearch search = find_checkpoint(folder_.path(), 1 + trials_ % 2);
      if (!search.newest_good) return "the older checkpoint was not found";
      if (search.newest_good->step() != 1) return "it was not detected";
      if (!test::holds(*search.newest_good, older_)) return "the older checkpoint is not as it was";
      const std::string& reason = search.damaged.at(0).reason;
      const auto is_named = [&](const std::string& word) { return reason.find(word) != std::string::npos; };
      if (std::ranges::none_of(damage.files, is_named)) return "no file is named: " + reason;
      // A tensor that begins in a block of changed metadata and is hurt further on is rightly named, too.
      const auto has_a_name = [&](const DamagedBlock& block) { return std::ranges::any_of(block.names, is_named); };
      const bool is_described = std::ranges::any_of(damage.blocks, has_a_name) &&
                                std::ranges::any_of(damage.blocks, [&](const DamagedBlock& block) {
                                  return is_named(fmt::format("bytes {} to ", block.first));
                                });
      return damage.blocks.empty() || is_described ? "" : "no damaged tensor is named: " + reason;
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  static constexpr std::array kKinds{
      &Campaign::flip_bits,       &Campaign::flip_bits, &Campaign::overwrite, &Campaign::overwrite,
      &Campaign::repeat_block,    &Campaign::cut,       &Campaign::grow,      &Campaign::empty,
      &Campaign::remove,          &Campaign::exchange,  &Campaign::link,      &Campaign::replace_by_folder,
      &Campaign::replace_by_older};

  std::mt19937_64 random_;
  test::TemporaryDirectory folder_;
  RawState older_;
  std::optional<Files> files_;  // of the newer one
  std::vector<std::string> names_;
  Manifest manifest_;
  std::map<std::string, int> counts_;
  int trials_ = 0;
  int failures_ = 0;
};

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: checkpoint_damage COUNT SEED\n");
    return 2;
  }
  lockstep::Campaign campaign(std::strtoull(arguments[2], nullptr, 10));
  for (int left = std::atoi(arguments[1]); left > 0; --left) campaign.trial();
  return campaign.report();
}
