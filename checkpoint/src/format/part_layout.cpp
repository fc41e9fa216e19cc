// SPDX-License-Identifier: Apache-2.0
#include "format/part_layout.hpp"

#include <algorithm>

#include "lockstep/hdf5/memory_file.hpp"

namespace lockstep {
namespace {

struct Extent {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

bool is_zero(std::byte value) { return value == std::byte{0}; }

// Keeps the bytes of [first, end) unless they are only padding.
void keep_metadata(const hdf5::MemoryFile& file, std::uint64_t first, std::uint64_t end, PartLayout& layout) {
  PartLayout::Bytes range{.offset = first, .bytes = std::vector<std::byte>(end - first)};
  file.read(first, range.bytes);
  if (!std::ranges::all_of(range.bytes, is_zero)) layout.metadata.push_back(std::move(range));
}

}  // namespace

PartLayout lay_out_part(std::span<const PartDataset> datasets) {
  hdf5::MemoryFile file;
  PartLayout layout;
  layout.offsets.reserve(datasets.size());
  std::vector<Extent> payload;
  for (const PartDataset& dataset : datasets) {
    const std::uint64_t offset = file.add_dataset(dataset.name, dataset.dtype, dataset.shape);
    layout.offsets.push_back(offset);
    payload.push_back({offset, offset + bytes_of(dataset.dtype, dataset.shape).value_or(0)});
  }
  file.close();
  layout.file_bytes = file.bytes();

  std::ranges::sort(payload, {}, &Extent::first);
  std::uint64_t at = 0;
  for (const Extent& extent : payload) {
    if (extent.first > at) keep_metadata(file, at, extent.first, layout);
    at = std::max(at, extent.end);
  }
  keep_metadata(file, at, layout.file_bytes, layout);
  return layout;
}

}  // namespace lockstep
