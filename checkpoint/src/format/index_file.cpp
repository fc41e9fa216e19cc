// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <utility>

#include "format/part_layout.hpp"
#include "lockstep/hdf5/memory_file.hpp"

namespace lockstep {
namespace {

using Shape = std::vector<std::int64_t>;

// What a file holds of a tensor.
struct FilePart {
  std::uint64_t first_offset = 0;
  std::int64_t elements = 0;
};

std::int64_t elements_of(const Shape& shape) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) elements *= extent;
  return elements;
}

hdf5::Box whole(const Shape& shape) { return {.start = Shape(shape.size(), 0), .count = shape}; }

// Elements between neighbours in each dimension.
Shape strides_of(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// The largest box that begins at element `first` and has no element at or behind `end`.
hdf5::Box box_at(const Shape& shape, const Shape& strides, std::int64_t first, std::int64_t end) {
  std::size_t d = 0;
  while (first % strides[d] != 0 || end - first < strides[d]) ++d;
  hdf5::Box box{.start = Shape(shape.size()), .count = shape};
  for (std::size_t i = 0; i < shape.size(); ++i) box.start[i] = first / strides[i] % shape[i];
  std::fill_n(box.count.begin(), d, 1);
  box.count[d] = std::min((end - first) / strides[d], shape[d] - box.start[d]);
  return box;
}

// A run of elements of an n-dimensional tensor is up to 2n − 1 boxes.
void map_run(const TensorRecord& tensor, const PieceRecord& piece, const hdf5::Mapping& source,
             std::vector<hdf5::Mapping>& mappings) {
  const Shape strides = strides_of(tensor.shape);
  const std::int64_t end = piece.first_element + piece.elements;
  std::int64_t at = source.source.start[0];
  for (std::int64_t first = piece.first_element; first < end;) {
    hdf5::Mapping mapping = source;
    mapping.target = box_at(tensor.shape, strides, first, end);
    const std::int64_t elements = elements_of(mapping.target.count);
    mapping.source = {.start = {at}, .count = {elements}};
    mappings.push_back(std::move(mapping));
    first += elements;
    at += elements;
  }
}

std::vector<hdf5::Mapping> mappings_of(const TensorRecord& tensor, const std::vector<FileRecord>& files) {
  std::map<std::size_t, FilePart> parts;
  for (const PieceRecord& piece : tensor.pieces) {
    FilePart& part = parts.try_emplace(piece.file, FilePart{piece.offset, 0}).first->second;
    part.first_offset = std::min(part.first_offset, piece.offset);
    part.elements += piece.elements;
  }
  if (parts.size() == 1) {  // its dataset has the tensor's shape
    const hdf5::Box all = whole(tensor.shape);
    return {{.target = all, .file = files.at(parts.begin()->first).name, .source_shape = tensor.shape, .source = all}};
  }
  std::vector<hdf5::Mapping> mappings;
  for (const PieceRecord& piece : tensor.pieces) {
    const FilePart& part = parts.at(piece.file);
    const std::uint64_t before = (piece.offset - part.first_offset) / size_of(tensor.dtype);
    map_run(tensor, piece,
            {.file = files.at(piece.file).name,
             .source_shape = {part.elements},
             .source = {.start = {static_cast<std::int64_t>(before)}, .count = {piece.elements}}},
            mappings);
  }
  return mappings;
}

}  // namespace

std::vector<std::byte> index_file(const Manifest& manifest) {
  hdf5::MemoryFile file;
  for (const TensorRecord& record : manifest.tensors) {
    file.add_virtual(record.name, record.dtype, record.shape, mappings_of(record, manifest.files));
  }
  file.close();
  std::vector<std::byte> bytes(file.bytes());
  file.read(0, bytes);
  return bytes;
}

const std::vector<std::byte>& KeptIndex::of(const Manifest& manifest) {
  std::vector<TensorRecord> tensors = manifest.tensors;
  for (TensorRecord& tensor : tensors) {
    for (PieceRecord& piece : tensor.pieces) piece.crc = 0;
  }
  std::vector<std::string> files;
  for (const FileRecord& file : manifest.files) files.push_back(file.name);
  if (bytes_.empty() || tensors != tensors_ || files != files_) {
    bytes_ = index_file(manifest);
    tensors_ = std::move(tensors);
    files_ = std::move(files);
  }
  return bytes_;
}

}  // namespace lockstep
