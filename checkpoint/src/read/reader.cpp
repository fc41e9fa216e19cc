// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/reader.hpp"

#include <fmt/format.h>

#include <atomic>

#include "failure.hpp"
#include "format/manifest.hpp"
#include "lockstep/base/crc32c.hpp"
#include "read/damage.hpp"
#include "read/file_set.hpp"
#include "read/parallel.hpp"
#include "read/read_jobs.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestBlob = 1 << 30;      // a sparse file may claim any size
constexpr std::uint64_t kVerifiedAtOnce = 16 << 20;  // bytes of a file that one thread takes

// Part of a file that one thread verifies.
struct BlockRun {
  std::size_t file = 0;
  std::uint64_t first = 0;  // blocks
  std::uint64_t last = 0;
};

std::uint64_t blocks_at_once(const Manifest& manifest) {
  return std::max<std::uint64_t>(kVerifiedAtOnce / manifest.block_bytes, 1);
}

void add_block_runs(const Manifest& manifest, std::size_t file, std::vector<BlockRun>& runs) {
  const std::uint64_t blocks = manifest.files[file].block_crcs.size();
  const std::uint64_t step = blocks_at_once(manifest);
  for (std::uint64_t first = 0; first < blocks; first += step) {
    runs.push_back({file, first, std::min(first + step, blocks)});
  }
}

}  // namespace

struct Checkpoint::Impl {
  fs::path path;
  Manifest manifest;
  std::uint64_t bytes;
  FileSet files;
  std::vector<StoredTensor> tensors{};
  std::vector<std::string> blob_names{};
  std::atomic<std::uint64_t> bytes_read = 0;

  Impl(const fs::path& folder_path, FileDescriptor folder, std::string_view manifest_text)
      : path(folder_path),
        manifest(parse_manifest(manifest_text, folder_path / kManifestName)),
        bytes(manifest_text.size()),
        files(std::move(folder), folder_path, manifest.files),
        bytes_read(manifest_text.size()) {
    for (const FileRecord& file : manifest.files) bytes += file.bytes;
    tensors.reserve(manifest.tensors.size());
    for (const TensorRecord& record : manifest.tensors) {
      tensors.push_back({record.name, record.dtype, record.shape});
    }
    for (const auto& [name, text] : manifest.blobs) blob_names.push_back(name);
    for (const TensorRecord& blob : manifest.stored_blobs) blob_names.push_back(blob.name.substr(kBlobFolder.size()));
  }

  void read(std::span<const ReadJob> jobs, int threads) {
    try {
      for_all(jobs.size(), threads, [&](std::size_t i) {
        const auto file = files.file(jobs[i].file);
        jobs[i].whole != nullptr ? read_piece(*file, jobs[i]) : read_by_blocks(*file, jobs[i]);
      });
    } catch (...) {
      rethrow_as_checkpoint_error(fmt::format("read checkpoint {}", path.string()), kUseAnother);
    }
  }

  void read_piece(const StoredFile& file, const ReadJob& job) {
    bytes_read += job.bytes.size();
    if (file.read_and_sum(job.offset, job.bytes) == job.whole->crc) return;
    throw_damaged(manifest, job.file, file, job.offset, job.offset + job.bytes.size());
  }

  // What lies before and behind the run in its first and its last block is read only to be summed.
  void read_by_blocks(const StoredFile& file, const ReadJob& job) {
    std::uint64_t offset = job.offset;
    for (std::span<std::byte> left = job.bytes; !left.empty();) {
      const std::uint64_t block = offset / manifest.block_bytes;
      const auto [first, last] = block_range(job.file, block);
      const auto wanted = left.first(std::min<std::uint64_t>(left.size(), last - offset));
      bytes_read += last - first;
      std::uint32_t crc = file.checksum(first, offset - first);
      crc = file.read_and_sum(offset, wanted, crc);
      offset += wanted.size();
      crc = file.checksum(offset, last - offset, crc);
      if (crc != manifest.files[job.file].block_crcs[block]) throw_damaged(manifest, job.file, file, first, last);
      left = left.subspan(wanted.size());
    }
  }

  std::string read_stored_blob(const TensorRecord& record) {
    const auto size = static_cast<std::uint64_t>(record.shape.at(0));
    if (size > kLargestBlob) {
      throw CheckpointError({.what = fmt::format("read {} of {}", record.name, path.string()),
                             .why = fmt::format("it has {} bytes", size),
                             .fix = kUseAnother});
    }
    std::string text(size, '\0');
    std::vector<ReadJob> jobs;
    add_jobs(manifest, record, 0, std::as_writable_bytes(std::span(text)), false, jobs);
    read(jobs, 1);
    return text;
  }

  void verify(std::span<const BlockRun> runs, int threads) {
    try {
      for_all(runs.size(), threads, [&](std::size_t i) { verify_run(runs[i]); });
    } catch (...) {
      rethrow_as_checkpoint_error(fmt::format("verify checkpoint {}", path.string()), kUseAnother);
    }
  }

  void verify_run(const BlockRun& run) {
    const auto file = files.file(run.file);
    for (std::uint64_t block = run.first; block < run.last; ++block) {
      const auto [first, last] = block_range(run.file, block);
      bytes_read += last - first;
      if (file->checksum(first, last - first) == manifest.files[run.file].block_crcs[block]) continue;
      throw_damaged(manifest, run.file, *file, first, last);
    }
  }

  // Its first byte and the one past its last.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> block_range(std::size_t file, std::uint64_t block) const {
    const std::uint64_t first = block * manifest.block_bytes;
    return {first, std::min(first + manifest.block_bytes, manifest.files[file].bytes)};
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const fs::path& path) {
  try {
    FileDescriptor folder = open_folder(path);
    const std::string text = read_manifest(folder, path / kManifestName);
    return Checkpoint(std::make_unique<Impl>(path, std::move(folder), text));
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("open checkpoint {}", path.string()), kUseAnother);
  }
}

const fs::path& Checkpoint::path() const noexcept { return impl_->path; }
std::int64_t Checkpoint::step() const noexcept { return impl_->manifest.step; }
int Checkpoint::world_size() const noexcept { return impl_->manifest.world_size; }
std::uint64_t Checkpoint::seed() const noexcept { return impl_->manifest.seed; }
const DeterminismRecord& Checkpoint::determinism() const noexcept { return impl_->manifest.determinism; }
const std::vector<std::pair<std::string, double>>& Checkpoint::metrics() const noexcept {
  return impl_->manifest.metrics;
}
const std::vector<StoredTensor>& Checkpoint::tensors() const noexcept { return impl_->tensors; }
const std::vector<std::string>& Checkpoint::blob_names() const noexcept { return impl_->blob_names; }
std::uint64_t Checkpoint::bytes() const noexcept { return impl_->bytes; }
std::uint64_t Checkpoint::bytes_read() const noexcept { return impl_->bytes_read; }
std::size_t Checkpoint::files() const noexcept { return impl_->files.size(); }

const StoredTensor* Checkpoint::find(std::string_view name) const noexcept {
  const TensorRecord* record = find_record(impl_->manifest.tensors, name);
  return record == nullptr ? nullptr
                           : &impl_->tensors[static_cast<std::size_t>(record - impl_->manifest.tensors.data())];
}

std::optional<std::string> Checkpoint::blob(std::string_view name) const {
  const auto& blobs = impl_->manifest.blobs;
  const auto found = std::ranges::lower_bound(blobs, name, {}, &std::pair<std::string, std::string>::first);
  if (found != blobs.end() && found->first == name) return found->second;
  const TensorRecord* record = find_record(impl_->manifest.stored_blobs, std::string(kBlobFolder).append(name));
  return record == nullptr ? std::nullopt : std::optional(impl_->read_stored_blob(*record));
}

void Checkpoint::read(std::string_view name, std::span<std::byte> bytes) const {
  const ReadRequest request{name, 0, bytes};
  const TensorRecord* record = find_record(impl_->manifest.tensors, name);
  if (record == nullptr || bytes_of(record->dtype, record->shape) != bytes.size()) {
    refuse_request(path(), request, record);
  }
  read(std::span(&request, 1));
}

void Checkpoint::read(std::span<const ReadRequest> requests, int threads) const {
  impl_->read(plan_reads(impl_->manifest, path(), requests, threads > 1), threads);
}

void Checkpoint::verify_file(std::size_t index) const {
  std::vector<BlockRun> runs;
  add_block_runs(impl_->manifest, index, runs);
  impl_->verify(runs, 1);
}

void Checkpoint::verify(int threads) const {
  std::vector<BlockRun> runs;
  for (std::size_t file = 0; file < files(); ++file) add_block_runs(impl_->manifest, file, runs);
  impl_->verify(runs, threads);
}

}  // namespace lockstep
