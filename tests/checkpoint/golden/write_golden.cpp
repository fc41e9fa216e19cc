// SPDX-License-Identifier: Apache-2.0
// write_golden CONTENTS.json FOLDER: writes what the file says as a checkpoint of this lockstep's schema version, by as
// many ranks as it says. Larger tensors are sharded, so that they lie in several files. README.md says when it is used.
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "lockstep/base/split.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/comm/local.hpp"

namespace {

using namespace lockstep;
using nlohmann::json;

constexpr std::int64_t kShardedFrom = 12;  // elements

std::vector<std::byte> bytes_of_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

CheckpointContents contents_of(const json& object) {
  const json& determinism = object.at("determinism");
  return {.step = object.at("step"),
          .seed = object.at("seed"),
          .determinism = {determinism.at("micro_batches"), determinism.at("intra_op_threads"),
                          determinism.at("libtorch"), determinism.at("cpu_capability")},
          .tensors = {},
          .blobs = object.at("blobs"),
          .metrics = object.at("metrics")};
}

void save(const json& object, const std::filesystem::path& folder, Communicator& world) {
  CheckpointContents contents = contents_of(object);
  std::vector<std::vector<std::byte>> memory;
  for (const json& tensor : object.at("tensors")) {
    memory.push_back(bytes_of_hex(tensor.at("bytes")));
    const DType dtype = dtype_from_name(tensor.at("dtype").get<std::string>());
    const auto size = static_cast<std::int64_t>(size_of(dtype));
    const std::int64_t elements = static_cast<std::int64_t>(memory.back().size()) / size;
    const Range own =
        elements < kShardedFrom ? Range{0, elements} : even_split(elements, world.world_size(), world.rank());
    contents.tensors.push_back({.name = tensor.at("name"),
                                .dtype = dtype,
                                .global_shape = tensor.at("shape"),
                                .first_element = own.first,
                                .elements = own.size(),
                                .data = memory.back().data() + own.first * size});
  }
  CheckpointSaver saver(world, {.folder = folder});
  saver.save(contents);
  const auto outcome = saver.finish();
  if (!outcome || outcome->path.empty()) throw std::runtime_error(outcome ? outcome->failure : "nothing was saved");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fputs("usage: write_golden CONTENTS.json FOLDER\n", stderr);
    return 2;
  }
  try {
    const json object = json::parse(std::ifstream(arguments[1]));
    run_local_ranks(object.at("world_size"), [&](Communicator& world) { save(object, arguments[2], world); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
