// SPDX-License-Identifier: Apache-2.0
#include "read/read_jobs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

// Jobs of fewer blocks than this are not worth a cut: each may read a block in vain at either end of a piece.
constexpr std::uint64_t kJobBlocks = 128;

bool fits(const ReadRequest& request, const TensorRecord& record) {
  const std::uint64_t size = size_of(record.dtype);
  const std::uint64_t elements = *bytes_of(record.dtype, record.shape) / size;  // parse_manifest checked the shape
  const auto first = static_cast<std::uint64_t>(request.first_element);
  return request.first_element >= 0 && first <= elements && request.bytes.size() % size == 0 &&
         request.bytes.size() / size <= elements - first;
}

// Adds bytes of one piece, of which `from` are before the first of them.
void add_run(const Manifest& manifest, const PieceRecord& piece, std::uint64_t piece_bytes, std::uint64_t from,
             std::span<std::byte> bytes, bool cut, std::vector<ReadJob>& jobs) {
  const std::uint64_t job_bytes = kJobBlocks * manifest.block_bytes;
  std::uint64_t offset = piece.offset + from;
  if (bytes.size() == piece_bytes && (!cut || bytes.size() < 2 * job_bytes)) {
    jobs.push_back({piece.file, offset, bytes, &piece});
    return;
  }
  while (!bytes.empty()) {
    const std::uint64_t next_cut = (offset / job_bytes + 1) * job_bytes;
    const auto run = bytes.first(cut ? std::min<std::uint64_t>(bytes.size(), next_cut - offset) : bytes.size());
    jobs.push_back({piece.file, offset, run, nullptr});
    offset += run.size();
    bytes = bytes.subspan(run.size());
  }
}

}  // namespace

const TensorRecord* find_record(const std::vector<TensorRecord>& records, std::string_view name) noexcept {
  const auto found = std::ranges::lower_bound(records, name, {}, &TensorRecord::name);
  return found != records.end() && found->name == name ? &*found : nullptr;
}

void add_jobs(const Manifest& manifest, const TensorRecord& record, std::int64_t first_element,
              std::span<std::byte> bytes, bool cut, std::vector<ReadJob>& jobs) {
  if (bytes.empty()) return;
  const auto size = static_cast<std::int64_t>(size_of(record.dtype));
  auto piece = std::ranges::upper_bound(record.pieces, first_element, {}, &PieceRecord::first_element) - 1;
  for (; !bytes.empty(); ++piece) {  // pieces cover the tensor
    const std::int64_t from = first_element - piece->first_element;
    const auto run =
        bytes.first(std::min<std::uint64_t>(bytes.size(), static_cast<std::uint64_t>(piece->elements - from) * size));
    add_run(manifest, *piece, static_cast<std::uint64_t>(piece->elements * size),
            static_cast<std::uint64_t>(from * size), run, cut, jobs);
    first_element = piece->first_element + piece->elements;
    bytes = bytes.subspan(run.size());
  }
}

void refuse_request(const std::filesystem::path& path, const ReadRequest& request, const TensorRecord* record) {
  const std::string what = fmt::format("read {} of {}", request.name, path.string());
  if (record == nullptr) {
    throw CheckpointError({.what = what,
                           .why = "the checkpoint has no such tensor",
                           .fix = "load it into the model that it was written from"});
  }
  throw CheckpointError(
      {.what = what,
       .why = fmt::format("it is {} [{}], {} bytes; {} from element {} on were asked for", name_of(record->dtype),
                          fmt::join(record->shape, ", "), *bytes_of(record->dtype, record->shape), request.bytes.size(),
                          request.first_element),
       .fix = "load it into a tensor of the same shape and dtype"});
}

std::vector<ReadJob> plan_reads(const Manifest& manifest, const std::filesystem::path& path,
                                std::span<const ReadRequest> requests, bool cut) {
  std::vector<ReadJob> jobs;
  jobs.reserve(requests.size());
  for (const ReadRequest& request : requests) {
    const TensorRecord* record = find_record(manifest.tensors, request.name);
    if (record == nullptr || !fits(request, *record)) refuse_request(path, request, record);
    add_jobs(manifest, *record, request.first_element, request.bytes, cut, jobs);
  }
  std::ranges::sort(jobs, {}, [](const ReadJob& job) { return std::tuple(job.file, job.offset); });
  return jobs;
}

}  // namespace lockstep
