// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commands.hpp"
#include "elements.hpp"
#include "format/manifest.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {
namespace {

Json describe_values(const Statistics& values) {
  return {{"min", values.least},     {"max", values.most},    {"mean", values.mean},
          {"std", values.deviation}, {"zeros", values.zeros}, {"not_finite", values.not_finite}};
}

// One that Checkpoint::open has found good: only there the file is bounded before it is read.
Manifest manifest_of(const Checkpoint& checkpoint) {
  const auto path = checkpoint.path() / kManifestName;
  return parse_manifest(read_file(path), path);
}

Json describe_tensors(const Checkpoint& checkpoint, const Manifest& manifest, bool values) {
  Json tensors = Json::array();
  for (const TensorRecord& record : manifest.tensors) {
    const StoredTensor& tensor = *checkpoint.find(record.name);
    Json pieces = Json::array();
    for (const PieceRecord& piece : record.pieces) {
      pieces.push_back({{"file", manifest.files[piece.file].name},
                        {"offset", piece.offset},
                        {"first_element", piece.first_element},
                        {"elements", piece.elements}});
    }
    tensors.push_back({{"name", tensor.name},
                       {"dtype", name_of(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"bytes", bytes_of(tensor)},
                       {"pieces", pieces}});
    if (values) tensors.back()["values"] = describe_values(statistics_of(checkpoint, tensor));
  }
  return tensors;
}

Json describe(const Checkpoint& checkpoint, bool values) {
  const Manifest manifest = manifest_of(checkpoint);
  const DeterminismRecord& determinism = checkpoint.determinism();
  Json metrics = Json::object();
  for (const auto& [name, value] : checkpoint.metrics()) metrics[name] = value;
  Json files = Json::array();
  for (const FileRecord& file : manifest.files) files.push_back({{"name", file.name}, {"bytes", file.bytes}});
  return {{"path", checkpoint.path().string()},
          {"lockstep", manifest.lockstep},
          {"step", checkpoint.step()},
          {"world_size", checkpoint.world_size()},
          {"seed", checkpoint.seed()},
          {"determinism",
           {{"micro_batches", determinism.micro_batches},
            {"intra_op_threads", determinism.intra_op_threads},
            {"libtorch", determinism.libtorch},
            {"cpu_capability", determinism.cpu_capability},
            {"device", determinism.device}}},
          {"metrics", metrics},
          {"bytes", checkpoint.bytes()},
          {"files", files},
          {"blobs", checkpoint.blob_names()},
          {"tensors", describe_tensors(checkpoint, manifest, values)}};
}

void print_head(const Json& found) {
  const auto& determinism = found["determinism"];
  fmt::print("{}\n", found["path"].get<std::string>());
  fmt::print("step         {}, of {} ranks, seed {}\n", found["step"].dump(), found["world_size"].dump(),
             found["seed"].dump());
  fmt::print("arithmetic   {} micro-batches, {} threads, LibTorch {}, {}, on {}\n", determinism["micro_batches"].dump(),
             determinism["intra_op_threads"].dump(), determinism["libtorch"].get<std::string>(),
             determinism["cpu_capability"].get<std::string>(), determinism["device"].get<std::string>());
  fmt::print("written by   lockstep {}\n", found["lockstep"].get<std::string>());
  fmt::print("size         {} in {} files\n", monitor::bytes_text(found["bytes"].get<double>()), found["files"].size());
  for (const auto& [name, value] : found["metrics"].items()) fmt::print("metric       {} = {}\n", name, value.dump());
  for (const auto& name : found["blobs"]) fmt::print("text         {}\n", name.get<std::string>());
}

void print_text(const Json& found) {
  print_head(found);
  fmt::print("\n{:<48} {:<9} {:<20} {:>12}  pieces\n", "tensor", "dtype", "shape", "bytes");
  for (const auto& tensor : found["tensors"]) {
    fmt::print("{:<48} {:<9} {:<20} {:>12}  {}\n", tensor["name"].get<std::string>(),
               tensor["dtype"].get<std::string>(), shape_text(tensor["shape"].get<std::vector<std::int64_t>>()),
               monitor::count_text(tensor["bytes"].get<std::int64_t>()), tensor["pieces"].size());
    if (!tensor.contains("values")) continue;
    const auto& values = tensor["values"];
    fmt::print("  from {:.6g} to {:.6g}, mean {:.6g}, standard deviation {:.6g}; {} zeros, {} not finite\n",
               values["min"].get<double>(), values["max"].get<double>(), values["mean"].get<double>(),
               values["std"].get<double>(), monitor::count_text(values["zeros"].get<std::int64_t>()),
               monitor::count_text(values["not_finite"].get<std::int64_t>()));
  }
}

}  // namespace

int show(const std::string& given, bool values, bool json) {
  const Json found = describe(open_checkpoint(given), values);
  if (json) {
    print(found);
  } else {
    print_text(found);
  }
  return 0;
}

}  // namespace lockstep::tool
