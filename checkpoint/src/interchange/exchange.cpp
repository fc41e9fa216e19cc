// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "failure.hpp"
#include "format/manifest.hpp"
#include "interchange/export_file.hpp"
#include "interchange/foreign_tensors.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/mapped_file.hpp"
#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/interchange.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// "/model/", or "/" for no group.
std::string prefix_of(const std::string& group) {
  const std::string prefix = group.empty() ? "" : "/" + group;
  if (!prefix.empty() && (!is_dataset_name(prefix) || is_blob_name(prefix))) {
    throw UsageError({.what = fmt::format("group \"{}\"", group),
                      .why = "it cannot be the beginning of tensors' names",
                      .fix = "give it as in model or optimizer/ema, or leave it out"});
  }
  return prefix + "/";
}

std::vector<ExportedTensor> select(const Checkpoint& checkpoint, const std::string& group) {
  const std::string prefix = prefix_of(group);
  std::vector<ExportedTensor> selected;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    selected.push_back({tensor.name.substr(prefix.size()), &tensor, bytes_of(tensor.dtype, tensor.shape).value()});
  }
  if (selected.empty()) {
    throw UsageError({.what = fmt::format("export from {}", checkpoint.path().string()),
                      .why = fmt::format("it has no tensors below {}", prefix),
                      .fix = "choose another group; lockstep ckpt show lists the tensors"});
  }
  return selected;
}

void write(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, ExchangeFormat format,
           ExportFile& file) {
  switch (format) {
    case ExchangeFormat::safetensors:
      return write_safetensors(checkpoint, tensors, file);
    case ExchangeFormat::torch:
      return write_torch(checkpoint, tensors, file);
    case ExchangeFormat::hdf5:
      return write_hdf5(checkpoint, tensors, file);
  }
}

ForeignTensors read(std::span<const std::byte> bytes, ExchangeFormat format, const fs::path& file) {
  switch (format) {
    case ExchangeFormat::safetensors:
      return read_safetensors(bytes);
    case ExchangeFormat::torch:
      return read_torch(bytes);
    case ExchangeFormat::hdf5:
      return read_hdf5(bytes, file.string());
  }
  return ForeignTensors(0);
}

// The names are the file's: they must be good before they become datasets' paths.
std::vector<TensorSlice> slices_of(const ForeignTensors& tensors, const std::string& prefix) {
  std::vector<TensorSlice> slices;
  for (const ForeignTensor& tensor : tensors.all()) {
    std::string name = prefix + tensor.name;
    if (!is_dataset_name(name) || is_blob_name(name)) {
      refuse(tensor_text(tensor.name), "a checkpoint cannot hold a tensor of this name");
    }
    slices.push_back({.name = std::move(name),
                      .dtype = tensor.dtype,
                      .global_shape = tensor.shape,
                      .elements = static_cast<std::int64_t>(tensor.bytes.size() / size_of(tensor.dtype)),
                      .data = tensor.bytes.data()});
  }
  std::ranges::sort(slices, {}, &TensorSlice::name);
  const auto twice = std::ranges::adjacent_find(slices, {}, &TensorSlice::name);
  if (twice != slices.end()) refuse(tensor_text(twice->name), "it is there twice");
  if (slices.empty()) refuse("its content", "there are no tensors");
  return slices;
}

}  // namespace

ExchangeFormat exchange_format(const fs::path& file) {
  constexpr std::array<std::pair<const char*, ExchangeFormat>, 5> kEndings{
      {{".safetensors", ExchangeFormat::safetensors},
       {".pt", ExchangeFormat::torch},
       {".pth", ExchangeFormat::torch},
       {".h5", ExchangeFormat::hdf5},
       {".hdf5", ExchangeFormat::hdf5}}};
  const auto found =
      std::ranges::find_if(kEndings, [&](const auto& ending) { return file.extension() == ending.first; });
  if (found == kEndings.end()) {
    throw UsageError({.what = fmt::format("file {}", file.string()),
                      .why = "its ending names no format for exchange",
                      .fix = "use .safetensors, .pt, .pth, .h5 or .hdf5"});
  }
  return found->second;
}

void export_tensors(const Checkpoint& checkpoint, const std::string& group, const fs::path& file) {
  const ExchangeFormat format = exchange_format(file);
  const std::vector<ExportedTensor> tensors = select(checkpoint, group);
  try {
    ExportFile exported(file);
    write(checkpoint, tensors, format, exported);
    exported.finish();
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("export {} to {}", checkpoint.path().string(), file.string()),
                                fmt::format("check the space and permissions of {}", file.string()));
  }
}

fs::path import_tensors(const fs::path& file, const std::string& group, const fs::path& folder, std::int64_t step) {
  const ExchangeFormat format = exchange_format(file);
  const std::string prefix = prefix_of(group);
  const fs::path path = checkpoint_path(folder, step);
  if (fs::exists(fs::symlink_status(path))) {
    throw UsageError({.what = fmt::format("import to {}", path.string()),
                      .why = "it exists",
                      .fix = "choose another step or another folder"});
  }
  try {
    if (!fs::is_regular_file(file)) throw IoError({.what = file.string(), .why = "there is no such file"});
    const MappedFile mapped(file);
    const ForeignTensors tensors = read(mapped.bytes(), format, file);
    CheckpointContents contents;
    contents.step = step;
    contents.tensors = slices_of(tensors, prefix);
    return write_checkpoint(folder, contents);
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("import {}", file.string()),
                                "write the file again, as a dictionary of names and dense tensors");
  }
}

}  // namespace lockstep
