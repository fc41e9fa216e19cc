// SPDX-License-Identifier: Apache-2.0
// damage TRIALS SEED: flips a random bit of a random file, or cuts it at a random byte, in data sets that carry
// checksums: packed tar shards with their index, HDF5 shards, MDS with hashes, raw and compressed. Then reads all. Each
// damage must be told (DataError at the opening, DamagedSample of a sample) before a wrong byte is delivered, or be
// harmless: all that is delivered is what was written. Anything else, another exception or a crash too, is a failure.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

#include "dataloader/open.hpp"
#include "dataloader/synthetic.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/pack.hpp"

namespace lockstep {
namespace {

using Sample = std::vector<std::string>;  // the bytes of each field

// A data set on disk and what is in it.
struct Set {
  std::string name;
  std::filesystem::path folder;
  std::vector<std::string> fields{};  // name and encoding
  std::vector<Sample> samples{};
  std::vector<std::filesystem::path> files{};
};

Sample read_sample(const RecordReader& reader, std::int64_t sample) {
  const auto record = read_record(reader, sample);
  Sample fields;
  for (const auto field : record.fields) fields.push_back(text_of(field));
  return fields;
}

std::vector<std::string> fields_of(const RecordReader& reader) {
  std::vector<std::string> fields;
  for (const auto& field : reader.fields()) fields.push_back(field.name + ':' + field.encoding);
  return fields;
}

void pack_tar_files(const std::filesystem::path& folder) {
  std::mt19937 random(1);
  TarWriter writer(folder, {.shard_samples = 10, .compression = Compression::zstd});
  for (int i = 0; i < 20; ++i) {
    std::vector<std::byte> image(std::uniform_int_distribution<std::size_t>(0, 700)(random));
    for (auto& byte : image) byte = static_cast<std::byte>(random());
    const std::string label = std::to_string(i);
    const std::vector<FieldBytes> fields{{"jpg", image}, {"cls", std::as_bytes(std::span(label))}};
    writer.add(std::to_string(100 + i), fields);
  }
  writer.finish();
}

Set remember(std::string name, std::filesystem::path folder) {
  Set set{.name = std::move(name), .folder = std::move(folder)};
  const auto reader = open_folder(set.folder);
  set.fields = fields_of(*reader);
  for (std::int64_t i = 0; i < reader->samples(); ++i) set.samples.push_back(read_sample(*reader, i));
  for (const auto& entry : std::filesystem::directory_iterator(set.folder)) set.files.push_back(entry.path());
  std::ranges::sort(set.files);
  return set;
}

std::vector<Set> make_sets(const TemporaryDirectory& at) {
  pack_tar_files(at / "tar");
  pack_numbered(at / "hdf5", 12, 2);
  const std::filesystem::path golden(LOCKSTEP_GOLDEN);
  std::filesystem::copy(golden / "mds", at / "mds");
  std::filesystem::copy(golden / "mds_zstd", at / "mds_zstd");
  std::vector<Set> sets;
  for (const auto* const name : {"tar", "hdf5", "mds", "mds_zstd"}) sets.push_back(remember(name, at / name));
  return sets;
}

enum class Outcome { refused, damaged, harmless, failed };
constexpr std::array kOutcomes{"refused at open", "damaged samples", "harmless", "FAILED"};

// Reads all of the damaged set.
Outcome judge(const Set& set) {
  try {
    const auto reader = open_folder(set.folder);
    bool told = false;
    // A reader of other fields or samples is not told to be one; no trainer gets past its schema or its fingerprint,
    // but that is not ours to say.
    if (reader->samples() != std::ssize(set.samples)) return Outcome::failed;
    for (std::int64_t i = 0; i < reader->samples(); ++i) {
      try {
        if (read_sample(*reader, i) != set.samples[static_cast<std::size_t>(i)]) return Outcome::failed;
        if (fields_of(*reader) != set.fields) return Outcome::failed;
      } catch (const DamagedSample&) {
        told = true;
      }
    }
    return told ? Outcome::damaged : Outcome::harmless;
  } catch (const DataError&) {
    return Outcome::refused;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return Outcome::failed;
  }
}

class Campaign {
 public:
  explicit Campaign(std::uint64_t seed) : random_(seed), sets_(make_sets(folder_)) {}

  void trial() {
    const auto& set = sets_[below(sets_.size())];
    const auto& file = set.files[below(set.files.size())];
    const auto whole = read_file(file);
    auto bytes = whole;
    const bool cut = below(5) == 0;
    const auto position = below(cut ? bytes.size() : bytes.size() * 8);
    if (cut) {
      bytes.resize(position);
    } else {
      flip_bit(bytes, position);
    }
    write_text(file, bytes);
    const auto outcome = judge(set);
    write_text(file, whole);
    ++counts_[set.name + (cut ? ", cut" : ", bit")][static_cast<std::size_t>(outcome)];
    if (outcome == Outcome::failed) {
      std::printf("FAILED: %s %s %zu\n", file.c_str(), cut ? "cut at byte" : "bit", position);
      ++failures_;
    }
  }

  [[nodiscard]] int report() const {
    for (const auto& [name, counts] : counts_) {
      std::printf("%-14s", name.c_str());
      for (std::size_t i = 0; i < counts.size(); ++i) std::printf("  %s %5d", kOutcomes[i], counts[i]);
      std::printf("\n");
    }
    std::printf("%d failed\n", failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }

  std::mt19937_64 random_;
  TemporaryDirectory folder_;
  std::vector<Set> sets_;
  std::map<std::string, std::array<int, kOutcomes.size()>> counts_;
  int failures_ = 0;
};

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: damage TRIALS SEED\n");
    return 2;
  }
  lockstep::Campaign campaign(std::strtoull(arguments[2], nullptr, 10));
  for (int left = std::atoi(arguments[1]); left > 0; --left) campaign.trial();
  return campaign.report();
}
