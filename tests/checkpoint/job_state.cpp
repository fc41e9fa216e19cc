// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/job_state.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <span>

#include "lockstep/base/hash.hpp"
#include "lockstep/base/mix.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/checkpoint/writer.hpp"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;

struct Row {
  const char* name;
  DType dtype;
  std::vector<std::int64_t> shape;
  bool sharded;
};

// Less and more than a block of 64 KiB, a scalar, and nothing.
const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {"/model/bias", DType::int64, {7}, false},          {"/model/count", DType::float64, {}, false},
      {"/model/empty", DType::float32, {0, 4}, false},    {"/model/weight", DType::float32, {96, 200}, false},
      {"/optim/moment", DType::float32, {60, 500}, true},
  };
  return all;
}

std::int64_t elements_of(const Row& row) {
  std::int64_t elements = 1;
  for (const std::int64_t size : row.shape) elements *= size;
  return elements;
}

std::vector<std::byte> bytes_of(const Row& row, std::int64_t step, Range range) {
  const std::size_t size = size_of(row.dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>(range.size()) * size);
  for (std::int64_t i = range.first; i < range.last; ++i) {
    const std::uint64_t value =
        mix_bits(fnv1a(row.name) + kGoldenGamma * static_cast<std::uint64_t>(step) + static_cast<std::uint64_t>(i));
    std::memcpy(bytes.data() + static_cast<std::size_t>(i - range.first) * size, &value, size);
  }
  return bytes;
}

std::string blob_of(std::int64_t step) { return "{\"position\":" + std::to_string(step * 64) + "}"; }

}  // namespace

JobState::JobState(std::int64_t step, int world_size, int rank) {
  contents_.step = step;
  contents_.seed = 7;
  contents_.blobs = {{"loader", blob_of(step)}};
  contents_.metrics = {{"eval.accuracy", 0.5}};
  for (const Row& row : rows()) {
    const std::int64_t elements = elements_of(row);
    const Range held = row.sharded ? even_split(elements, world_size, rank) : Range{0, elements};
    memory_.push_back(bytes_of(row, step, held));
    contents_.tensors.push_back({.name = row.name,
                                 .dtype = row.dtype,
                                 .global_shape = row.shape,
                                 .first_element = held.first,
                                 .elements = held.size(),
                                 .data = memory_.back().data()});
  }
}

std::string difference(const Checkpoint& checkpoint) {
  const std::string where = checkpoint.path().string() + ": ";
  if (checkpoint.tensors().size() != rows().size()) return where + "another number of tensors";
  if (checkpoint.blob("loader") != blob_of(checkpoint.step())) return where + "another blob";
  for (const Row& row : rows()) {
    const StoredTensor* const stored = checkpoint.find(row.name);
    if (stored == nullptr || stored->dtype != row.dtype || stored->shape != row.shape) {
      return where + "not the tensor " + row.name;
    }
    const std::vector<std::byte> expected = bytes_of(row, checkpoint.step(), {0, elements_of(row)});
    std::vector<std::byte> read(expected.size());
    checkpoint.read(row.name, read);
    if (read != expected) return where + "wrong bytes of " + row.name;
  }
  return "";
}

Found look(const fs::path& folder, std::int64_t at_least) {
  try {
    const CheckpointSearch search = find_checkpoint(folder);
    Found found{.step = search.newest_good ? search.newest_good->step() : 0};
    if (found.step < at_least) {
      found.wrong = "step " + std::to_string(at_least) + " was durable, found is " + std::to_string(found.step);
    }
    for (const DamagedCheckpoint& damaged : search.damaged) {
      found.wrong += "; damaged: " + damaged.path.string() + ": " + damaged.reason;
    }
    if (search.newest_good) found.wrong += difference(*search.newest_good);
    return found;
  } catch (const std::exception& error) {
    return {.wrong = error.what()};
  }
}

Found restart(const fs::path& folder, std::int64_t at_least) {
  try {
    remove_unfinished_checkpoints(folder);
    return look(folder, at_least);
  } catch (const std::exception& error) {
    return {.wrong = error.what()};
  }
}

std::string left_over(const fs::path& folder, const std::vector<std::int64_t>& steps) {
  std::vector<std::string> expected{"LATEST", ".trash"};
  for (const std::int64_t step : steps) expected.push_back(checkpoint_path(folder, step).filename());
  std::string rest;
  std::size_t complete = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const auto found = std::ranges::find(expected, name);
    if (found == expected.end() || (name == ".trash" && !fs::is_empty(entry.path()))) rest += name + " ";
    if (found != expected.end() && name.starts_with("step-")) ++complete;
  }
  return complete == steps.size() ? rest : rest + "(too few checkpoints)";
}

}  // namespace lockstep::testing
