// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "format/part_layout.hpp"
#include "format/step_folder.hpp"

// Checkpoints' HDF5 files, built by hand from their layout: what the writer does, without it.
namespace lockstep::test {

// A run of elements, and the file that holds it.
struct Cut {
  std::size_t file = 0;
  std::int64_t first_element = 0;
  std::int64_t elements = 0;
};

struct SplitTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  std::vector<Cut> cuts;  // empty: the whole of it in file 0
};

inline std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) elements *= extent;
  return elements;
}

// Element i of every tensor is i % 100, which all dtypes hold; of booleans i % 2.
inline std::vector<std::byte> element(DType dtype, std::int64_t i) {
  const std::int64_t value = dtype == DType::boolean ? i % 2 : i % 100;
  std::vector<std::byte> bytes(size_of(dtype));
  const auto put = [&](auto number) { std::memcpy(bytes.data(), &number, bytes.size()); };
  const auto single = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if (dtype == DType::float64) {
    put(static_cast<double>(value));
  } else if (dtype == DType::float32) {
    put(single);
  } else if (dtype == DType::bfloat16) {
    put(static_cast<std::uint16_t>(single >> 16U));
  } else if (dtype == DType::float16) {  // another bias, and 13 bits of mantissa fewer
    put(static_cast<std::uint16_t>(value == 0 ? 0 : (single >> 13U) - ((127U - 15U) << 10U)));
  } else {
    put(value);
  }
  return bytes;
}

inline std::vector<std::byte> elements(DType dtype, std::int64_t first, std::int64_t count) {
  std::vector<std::byte> bytes;
  for (std::int64_t i = first; i < first + count; ++i) {
    const auto one = element(dtype, i);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return bytes;
}

// A file whose datasets have the bytes `data[i]`.
inline std::vector<std::byte> image_of(const PartLayout& layout, const std::vector<std::vector<std::byte>>& data) {
  std::vector<std::byte> image(layout.file_bytes);
  for (const auto& [offset, bytes] : layout.metadata) std::ranges::copy(bytes, image.data() + offset);
  for (std::size_t i = 0; i < data.size(); ++i) std::ranges::copy(data[i], image.data() + layout.offsets[i]);
  return image;
}

inline void write_bytes(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// The cuts of a tensor that lie in `file`.
inline std::vector<Cut> cuts_in(const SplitTensor& tensor, std::size_t file) {
  std::vector<Cut> cuts = tensor.cuts;
  if (cuts.empty()) cuts.push_back({0, 0, elements_of(tensor.shape)});
  std::erase_if(cuts, [file](const Cut& cut) { return cut.file != file; });
  return cuts;
}

// Writes one file, and adds it and the pieces that it holds to `manifest`, which has the tensors.
inline void write_part(const std::filesystem::path& folder, const std::vector<SplitTensor>& tensors, std::size_t file,
                       Manifest& manifest) {
  std::vector<PartDataset> datasets;
  std::vector<std::vector<std::byte>> data;
  std::vector<std::size_t> tensor_of;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto cuts = cuts_in(tensors[t], file);
    if (cuts.empty()) continue;
    std::vector<std::byte> bytes;
    for (const Cut& cut : cuts) {
      const auto run = elements(tensors[t].dtype, cut.first_element, cut.elements);
      bytes.insert(bytes.end(), run.begin(), run.end());
    }
    const auto here = static_cast<std::int64_t>(bytes.size() / size_of(tensors[t].dtype));
    const bool whole = here == elements_of(tensors[t].shape);
    datasets.push_back({tensors[t].name, tensors[t].dtype, whole ? tensors[t].shape : std::vector{here}});
    data.push_back(std::move(bytes));
    tensor_of.push_back(t);
  }
  const PartLayout layout = lay_out_part(datasets);
  for (std::size_t d = 0; d < datasets.size(); ++d) {
    std::uint64_t offset = layout.offsets[d];
    for (const Cut& cut : cuts_in(tensors[tensor_of[d]], file)) {
      if (cut.elements == 0) continue;
      manifest.tensors[tensor_of[d]].pieces.push_back({file, offset, cut.first_element, cut.elements, 0});
      offset += static_cast<std::uint64_t>(cut.elements) * size_of(datasets[d].dtype);
    }
  }
  manifest.files.push_back({.name = part_name(static_cast<int>(file)), .bytes = layout.file_bytes});
  write_bytes(folder / manifest.files.back().name, image_of(layout, data));
}

// Writes rank-00000.h5 … and index.h5 into `folder`. Returns the manifest, without checksums.
inline Manifest write_parts(const std::filesystem::path& folder, std::vector<SplitTensor> tensors, std::size_t files) {
  std::ranges::sort(tensors, {}, &SplitTensor::name);
  Manifest manifest;
  for (const SplitTensor& tensor : tensors) {
    manifest.tensors.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
  }
  for (std::size_t file = 0; file < files; ++file) write_part(folder, tensors, file, manifest);
  for (TensorRecord& tensor : manifest.tensors) {
    std::ranges::sort(tensor.pieces, {}, &PieceRecord::first_element);
  }
  write_bytes(folder / kIndexName, index_file(manifest));
  return manifest;
}

}  // namespace lockstep::test
