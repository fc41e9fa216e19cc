// SPDX-License-Identifier: Apache-2.0
#include "format/dataset_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

[[noreturn]] void refuse(const std::string& subject, const std::string& why, const std::string& fix) {
  throw UsageError({.what = fmt::format("write {} to a checkpoint", subject), .why = why, .fix = fix});
}

void check_numbers(const CheckpointContents& contents) {
  const DeterminismRecord& determinism = contents.determinism;
  if (contents.step < 0 || contents.world_size < 1 || determinism.micro_batches < 1 ||
      determinism.intra_op_threads < 1) {
    refuse(fmt::format("step {}", contents.step),
           fmt::format("{} ranks, {} micro-batches and {} intra-op threads cannot have made it", contents.world_size,
                       determinism.micro_batches, determinism.intra_op_threads),
           "give a step of at least 0 and counts of at least 1");
  }
}

void check_name(const std::string& name) {
  if (!is_dataset_name(name)) {
    refuse(fmt::format("\"{}\"", name), "it is not an HDF5 path", "use a name such as \"/model/conv1.weight\"");
  }
}

PlannedDataset plan(std::string name, DType dtype, std::vector<std::int64_t> shape, std::span<const std::byte> data) {
  const std::uint32_t crc = crc32c(data);
  return {{.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .bytes = data.size(), .crc = crc}, data};
}

PlannedDataset plan_tensor(const TensorSlice& slice) {
  check_name(slice.name);
  if (is_blob_name(slice.name)) refuse(slice.name, "names below /blobs are those of blobs", "use another name");
  const auto bytes = bytes_of(slice.dtype, slice.global_shape);
  if (!bytes) {
    refuse(slice.name, fmt::format("its shape is [{}]", fmt::join(slice.global_shape, ", ")),
           "give dimensions of at least 0 whose product fits in 63 bits");
  }
  const auto elements = static_cast<std::int64_t>(*bytes / size_of(slice.dtype));
  if (slice.first_element != 0 || slice.elements != elements) {
    refuse(slice.name,
           fmt::format("the slice has elements {} to {} of {}; sharded slices come later", slice.first_element,
                       slice.first_element + slice.elements, elements),
           "give the whole tensor");
  }
  if (slice.data == nullptr && *bytes > 0) refuse(slice.name, "its data is null", "give its bytes");
  return plan(slice.name, slice.dtype, slice.global_shape, {slice.data, static_cast<std::size_t>(*bytes)});
}

PlannedDataset plan_blob(const std::string& name, const std::string& text) {
  std::string path = std::string(kBlobFolder) + name;
  check_name(path);
  return plan(std::move(path), DType::uint8, {static_cast<std::int64_t>(text.size())}, std::as_bytes(std::span(text)));
}

const std::string& name_of_dataset(const PlannedDataset& dataset) { return dataset.record.name; }

// HDF5 keeps datasets in a tree of groups, where each name can stand once and a dataset has nothing below it.
void check_tree(const std::vector<PlannedDataset>& sorted) {
  if (const auto twin = std::ranges::adjacent_find(sorted, {}, name_of_dataset); twin != sorted.end()) {
    refuse(twin->record.name, "two tensors have this name", "give each its own");
  }
  for (const auto& [record, data] : sorted) {
    for (auto slash = record.name.find('/', 1); slash != std::string::npos; slash = record.name.find('/', slash + 1)) {
      const std::string parent = record.name.substr(0, slash);
      if (!std::ranges::binary_search(sorted, parent, {}, name_of_dataset)) continue;
      refuse(record.name, fmt::format("it lies below {}, which is no group", parent), "rename one of the two");
    }
  }
}

}  // namespace

std::vector<PlannedDataset> plan_datasets(const CheckpointContents& contents) {
  check_numbers(contents);
  std::vector<PlannedDataset> datasets;
  datasets.reserve(contents.tensors.size() + contents.blobs.size());
  for (const TensorSlice& slice : contents.tensors) datasets.push_back(plan_tensor(slice));
  for (const auto& [name, text] : contents.blobs) datasets.push_back(plan_blob(name, text));

  std::ranges::sort(datasets, {}, name_of_dataset);
  check_tree(datasets);
  return datasets;
}

}  // namespace lockstep
