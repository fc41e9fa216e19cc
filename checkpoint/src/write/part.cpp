// SPDX-License-Identifier: Apache-2.0
#include "write/part.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>

namespace lockstep {
namespace {

std::int64_t elements_of(const WritePlan::Tensor& tensor) {
  return std::transform_reduce(tensor.pieces.begin(), tensor.pieces.end(), std::int64_t{0}, std::plus{},
                               [](const WritePlan::Piece& piece) { return piece.elements; });
}

// Everything of an image that none of `used` covers.
std::vector<ByteRange> rest_of(std::vector<ByteRange> used, std::uint64_t bytes) {
  std::ranges::sort(used, {}, &ByteRange::first);
  used.push_back({.first = bytes});
  std::vector<ByteRange> rest;
  std::uint64_t at = 0;
  for (const ByteRange& range : used) {
    if (range.first > at) rest.push_back({at, range.first - at});
    at = std::max(at, range.first + range.bytes);
  }
  return rest;
}

std::vector<ByteRange> padding_of(const Part& part) {
  std::vector<ByteRange> used;
  for (const auto& [offset, bytes] : part.layout.metadata) used.push_back({offset, bytes.size()});
  for (const Part::Piece& piece : part.written) used.push_back({piece.offset, piece.bytes});
  return rest_of(std::move(used), whole_pages(part.layout.file_bytes));
}

// A rank's slices, in the order in which pieces look for them.
std::vector<const TensorSlice*> sorted_slices(const CheckpointContents& contents) {
  std::vector<const TensorSlice*> slices;
  for (const TensorSlice& slice : contents.tensors) {
    if (slice.elements > 0) slices.push_back(&slice);
  }
  std::ranges::sort(slices, [](const TensorSlice* a, const TensorSlice* b) {
    const int names = a->name.compare(b->name);
    return names != 0 ? names < 0 : a->first_element < b->first_element;
  });
  return slices;
}

}  // namespace

Part make_part(const WritePlan& plan, int rank) {
  Part part;
  std::vector<PartDataset> datasets;
  std::vector<std::size_t> dataset_of;  // by Part::written
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const WritePlan::Tensor& tensor = plan.tensors[t];
    std::int64_t written = 0;
    for (std::size_t p = 0; p < tensor.pieces.size(); ++p) {
      const WritePlan::Piece& piece = tensor.pieces[p];
      const auto bytes = static_cast<std::uint64_t>(piece.elements) * size_of(tensor.dtype);
      if (piece.writer == rank) {
        part.written.push_back({.tensor = t, .piece = p, .bytes = bytes});
        dataset_of.push_back(datasets.size());
        written += piece.elements;
      } else if (std::ranges::binary_search(piece.holders, rank)) {
        part.compared.push_back({.tensor = t, .piece = p, .bytes = bytes});
      }
    }
    if (written == 0) continue;
    datasets.push_back({tensor.name, tensor.dtype,
                        written == elements_of(tensor) ? tensor.shape : std::vector<std::int64_t>{written}});
  }
  part.layout = lay_out_part(datasets);
  std::vector<std::uint64_t> next = part.layout.offsets;
  for (std::size_t i = 0; i < part.written.size(); ++i) {
    part.written[i].offset = next[dataset_of[i]];
    next[dataset_of[i]] += part.written[i].bytes;
  }
  part.padding = padding_of(part);
  return part;
}

std::span<std::byte> prepare_image(const Part& part, StagingMemory& memory) {
  const auto image = memory.reserve(part.layout.file_bytes);
  for (const auto& [offset, bytes] : part.layout.metadata) {
    std::memcpy(image.data() + offset, bytes.data(), bytes.size());
  }
  for (const auto& [first, bytes] : part.padding) std::memset(image.data() + first, 0, bytes);
  return image.first(part.layout.file_bytes);
}

std::vector<PieceSource> sources(const WritePlan& plan, std::span<const Part::Piece> pieces,
                                 const CheckpointContents& contents) {
  const std::vector<const TensorSlice*> slices = sorted_slices(contents);
  std::vector<PieceSource> result;
  result.reserve(pieces.size());
  for (const Part::Piece& wanted : pieces) {
    const WritePlan::Tensor& tensor = plan.tensors[wanted.tensor];
    const std::int64_t first = tensor.pieces[wanted.piece].first_element;
    // The first slice that ends behind the piece's first element.
    const auto found = std::ranges::partition_point(slices, [&](const TensorSlice* slice) {
      const int names = slice->name.compare(tensor.name);
      return names != 0 ? names < 0 : slice->first_element + slice->elements <= first;
    });
    assert(found != slices.end() && (*found)->name == tensor.name && (*found)->first_element <= first);
    const TensorSlice& slice = **found;
    const auto skipped = static_cast<std::size_t>(first - slice.first_element) * size_of(tensor.dtype);
    result.push_back({{slice.data + skipped, wanted.bytes}, slice.changes_in_forward});
  }
  return result;
}

}  // namespace lockstep
