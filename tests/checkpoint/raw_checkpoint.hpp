// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "format/manifest.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/dtype.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"

// Checkpoints written as plain bytes, without libhdf5: the reader never looks at libhdf5's bytes, so that random ones
// do in their place. Needs checkpoint/src among the include directories.
namespace lockstep::test {

using Bytes = std::vector<std::byte>;

inline Bytes random_bytes(std::size_t count, std::mt19937_64& random) {
  Bytes bytes(count);
  for (std::size_t at = 0; at < count; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, std::min(sizeof(word), count - at));
  }
  return bytes;
}

struct RawTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  Bytes bytes{};
  [[nodiscard]] std::int64_t elements() const { return static_cast<std::int64_t>(bytes.size() / size_of(dtype)); }
};

struct RawState {
  std::int64_t step = 0;
  std::map<std::string, RawTensor> tensors{};
  std::map<std::string, std::string> blobs{{"loader", R"({"position":1280})"}};

  // Adds a tensor with arbitrary bytes; the same for the same name and step.
  void add(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape) {
    std::mt19937_64 random(static_cast<std::uint64_t>(step) + std::hash<std::string>{}(name));
    tensors[name] = {name, dtype, shape, random_bytes(*bytes_of(dtype, shape), random)};
  }
};

// Tensors of every kind: less than a block, of several blocks, empty, without a dimension.
inline RawState small_raw_state(std::int64_t step) {
  RawState state{.step = step};
  state.add("/model/conv1.weight", DType::float32, {32, 1, 3, 3});
  state.add("/model/conv1.bias", DType::bfloat16, {32});
  state.add("/model/embedding", DType::float32, {300, 251});
  state.add("/model/empty", DType::int64, {0, 4});
  state.add("/model/scalar", DType::float64, {});
  state.add("/optimizer/flags", DType::boolean, {1001});
  return state;
}

// Elements [first, first + elements) of a tensor are written by `writer`.
struct RawCut {
  int writer = 0;
  std::int64_t first = 0;
  std::int64_t elements = 0;
};
using RawCuts = std::map<std::string, std::vector<RawCut>>;

// Uneven pieces, of any writer, in any order; a writer may have several of a tensor.
inline RawCuts random_cuts(const RawState& state, int writers, std::mt19937_64& random) {
  RawCuts cuts;
  for (const auto& [name, tensor] : state.tensors) {
    for (std::int64_t first = 0; first < tensor.elements();) {
      const auto most = static_cast<std::uint64_t>(tensor.elements() - first);
      const auto elements = static_cast<std::int64_t>(1 + random() % most);
      cuts[name].push_back({static_cast<int>(random() % static_cast<unsigned>(writers)), first, elements});
      first += elements;
    }
  }
  return cuts;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline FileRecord record_of(const std::string& name, std::span<const std::byte> bytes, std::uint64_t block_bytes) {
  FileRecord record{.name = name, .bytes = bytes.size()};
  for (std::uint64_t first = 0; first < bytes.size(); first += block_bytes) {
    record.block_crcs.push_back(crc32c(bytes.subspan(first, std::min(block_bytes, bytes.size() - first))));
  }
  return record;
}

// Writes folder/step-NNNNNNNN as `writers` ranks would. Pieces lie at arbitrary offsets with arbitrary bytes, as those
// of libhdf5, between them.
inline std::filesystem::path write_raw(const std::filesystem::path& folder, const RawState& state, int writers,
                                       const RawCuts& cuts, std::mt19937_64& random) {
  Manifest manifest;
  manifest.lockstep = "0.2.0";
  manifest.step = state.step;
  manifest.world_size = writers;
  manifest.seed = 18'000'000'000'000'000'000U;
  manifest.determinism = {4, 2, "2.11.0", "AVX2"};
  manifest.metrics = {{"eval.accuracy", 0.5}};
  manifest.blobs.assign(state.blobs.begin(), state.blobs.end());
  std::vector<Bytes> files(static_cast<std::size_t>(writers) + 1);
  const auto add_metadata = [&](Bytes& file, std::size_t count) {
    const Bytes metadata = random_bytes(count, random);
    file.insert(file.end(), metadata.begin(), metadata.end());
  };
  for (Bytes& file : files) add_metadata(file, 600 + random() % 1000);
  for (const auto& [name, tensor] : state.tensors) {
    TensorRecord record{.name = name, .dtype = tensor.dtype, .shape = tensor.shape};
    for (const RawCut& cut : cuts.contains(name) ? cuts.at(name) : std::vector<RawCut>{}) {
      const std::size_t size = size_of(tensor.dtype);
      const auto piece =
          std::span(tensor.bytes)
              .subspan(static_cast<std::size_t>(cut.first) * size, static_cast<std::size_t>(cut.elements) * size);
      Bytes& file = files[static_cast<std::size_t>(cut.writer)];
      add_metadata(file, random() % 200);
      record.pieces.push_back(
          {static_cast<std::size_t>(cut.writer), file.size(), cut.first, cut.elements, crc32c(piece)});
      file.insert(file.end(), piece.begin(), piece.end());
    }
    manifest.tensors.push_back(std::move(record));
  }
  std::filesystem::path path = folder / step_name(state.step);
  std::filesystem::create_directories(path);
  for (int writer = 0; writer <= writers; ++writer) {
    const Bytes& bytes = files[static_cast<std::size_t>(writer)];
    manifest.files.push_back(record_of(writer < writers ? part_name(writer) : kIndexName, bytes, manifest.block_bytes));
    write_bytes(path / manifest.files.back().name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  write_bytes(path / kManifestName, print_manifest(manifest));
  return path;
}

inline std::filesystem::path write_raw(const std::filesystem::path& folder, const RawState& state, int writers,
                                       std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  return write_raw(folder, state, writers, random_cuts(state, writers, random), random);
}

inline Manifest manifest_of(const std::filesystem::path& checkpoint) {
  return parse_manifest(read_text(checkpoint / kManifestName), "MANIFEST");
}

inline Bytes read_tensor(const Checkpoint& checkpoint, const RawTensor& tensor) {
  Bytes bytes(tensor.bytes.size());
  checkpoint.read(tensor.name, bytes);
  return bytes;
}

// Whether it has every bit of `state`.
inline bool holds(const Checkpoint& checkpoint, const RawState& state) {
  if (checkpoint.step() != state.step || checkpoint.tensors().size() != state.tensors.size()) return false;
  for (const auto& [name, tensor] : state.tensors) {
    const StoredTensor* stored = checkpoint.find(name);
    if (stored == nullptr || stored->dtype != tensor.dtype || stored->shape != tensor.shape) return false;
    if (read_tensor(checkpoint, tensor) != tensor.bytes) return false;
  }
  return std::ranges::all_of(state.blobs, [&](const auto& b) { return checkpoint.blob(b.first) == b.second; });
}

// Inverts one bit of a file; doing it again restores the file.
inline void flip_bit(const std::filesystem::path& path, std::uint64_t offset, unsigned bit) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const auto value = static_cast<unsigned>(file.get());
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(value ^ (1U << bit)));
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

// "step-00000002/MANIFEST" as a name that GoogleTest takes.
template <class Info>
std::string case_name(const Info& info) {
  std::string name = std::string("in_") + info.param;
  std::ranges::replace_if(
      name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

// The text of the CheckpointError that `action` throws.
template <class Action>
std::string checkpoint_error(const Action& action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no CheckpointError was thrown";
}

}  // namespace lockstep::test
