// SPDX-License-Identifier: Apache-2.0
#include "formats/mds_shard.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "json_number.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/mapped_file.hpp"

namespace lockstep {
namespace {

[[noreturn]] void fail(const Blob& blob, std::string why) {
  throw DamagedSample(
      {.what = fmt::format("shard {}", blob.name()), .why = std::move(why), .fix = "copy the data set again"});
}

std::uint32_t number_at(std::span<const std::byte> bytes, std::uint64_t index) noexcept {
  std::uint32_t number = 0;
  std::memcpy(&number, bytes.data() + index * sizeof number, sizeof number);
  return number;
}

const EVP_MD* digest_named(std::string name) {
  std::ranges::replace(name, '_', '-');  // hashlib's sha3_256
  return EVP_get_digestbyname(name.c_str());
}

std::string hash_of(std::span<const std::byte> bytes, const std::string& algorithm) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, digest_named(algorithm), nullptr) != 1) {
    throw IoError({.what = fmt::format("hash {}", algorithm), .why = "OpenSSL does not give it on this host"});
  }
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

// Why these are not the bytes of the file; empty if they are, as far as the index tells.
std::string difference(std::span<const std::byte> bytes, const MdsFile& file) {
  if (bytes.size() != file.bytes) return fmt::format("expected {} bytes, found {}", file.bytes, bytes.size());
  if (file.algorithm.empty()) return {};
  const auto hash = hash_of(bytes, file.algorithm);
  return hash == file.hash ? "" : fmt::format("it is damaged: {} {}, expected {}", file.algorithm, hash, file.hash);
}

void check_size(const Blob& blob, const MdsFile& file) {
  if (blob.size() != file.bytes) fail(blob, fmt::format("expected {} bytes, found {}", file.bytes, blob.size()));
}

BlobView checked_bytes(const Blob& blob, const MdsFile& file) {
  check_size(blob, file);
  auto view = blob.view(0, file.bytes);
  auto why = difference(view.bytes, file);
  if (!why.empty() && blob.refetch(0, file.bytes)) {
    view = blob.view(0, file.bytes);
    why = difference(view.bytes, file);
  }
  if (!why.empty()) fail(blob, std::move(why));
  return view;
}

struct FreeStream {
  void operator()(ZSTD_DStream* stream) const noexcept { ZSTD_freeDStream(stream); }
};

class Unzip {
 public:
  Unzip(const Blob& blob, std::span<const std::byte> zipped)
      : blob_(blob), stream_(ZSTD_createDStream()), input_{zipped.data(), zipped.size(), 0} {}

  // Fills `piece` as far as there is something; fewer bytes: this is the end.
  std::size_t next(std::span<std::byte> piece) {
    ZSTD_outBuffer output{piece.data(), piece.size(), 0};
    while (output.pos < output.size && (left_in_frame_ != 0 || input_.pos < input_.size)) {
      const auto before = std::pair(input_.pos, output.pos);
      left_in_frame_ = ZSTD_decompressStream(stream_.get(), &output, &input_);
      if (ZSTD_isError(left_in_frame_) != 0) fail(blob_, ZSTD_getErrorName(left_in_frame_));
      if (std::pair(input_.pos, output.pos) == before && left_in_frame_ != 0) fail(blob_, "it ends too soon");
    }
    return output.pos;
  }

 private:
  const Blob& blob_;
  std::unique_ptr<ZSTD_DStream, FreeStream> stream_;
  ZSTD_inBuffer input_;
  std::size_t left_in_frame_ = 0;
};

// Memory is left to the page cache, which can write these pages out.
std::shared_ptr<const MappedFile> unzip(const Blob& blob, std::span<const std::byte> zipped, std::uint64_t bytes) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;
  auto path = (std::filesystem::temp_directory_path() / "lockstep-mds-XXXXXX").string();
  const FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file) throw IoError({.what = "create " + path, .why = std::strerror(errno), .fix = "set TMPDIR to a folder"});
  std::filesystem::remove(path);
  std::vector<std::byte> piece(kPieceBytes);
  std::uint64_t written = 0;
  for (Unzip source(blob, zipped);;) {
    const auto got = source.next(piece);
    written += got;
    if (written > bytes) break;
    write_all(file.get(), std::span(piece).first(got), path);
    if (got < piece.size()) break;
  }
  if (written != bytes) fail(blob, fmt::format("it does not hold {} bytes when uncompressed", bytes));
  return std::make_shared<MappedFile>(file, path);
}

void check_form(const Blob& blob, std::span<const std::byte> bytes, const MdsEntry& entry,
                const std::vector<MdsColumn>& columns) {
  const auto samples = static_cast<std::uint64_t>(entry.samples);
  const auto header = (samples + 2) * sizeof(std::uint32_t);  // of bytes below 2^32, says the index
  if (bytes.size() < header || number_at(bytes, 0) != samples) {
    fail(blob, fmt::format("it does not hold the {} samples that the index says", samples));
  }
  std::uint64_t end = header;
  for (std::uint64_t i = 1; i <= samples + 1; ++i) {
    const auto offset = number_at(bytes, i);
    if (offset < end) fail(blob, fmt::format("sample {} begins before the one before ends", i - 1));
    end = offset;
  }
  if (end != bytes.size()) fail(blob, fmt::format("its samples end at byte {} of {}", end, bytes.size()));
  const auto config = bytes.subspan(header, number_at(bytes, 1) - header);
  try {
    if (parse_columns({reinterpret_cast<const char*>(config.data()), config.size()}) == columns) return;
  } catch (const nlohmann::json::exception& error) {
    fail(blob, fmt::format("its columns: {}", error.what()));
  }
  fail(blob, "its columns are not those of the index");
}

}  // namespace

std::span<const std::byte> MdsShard::sample(std::int64_t row) const noexcept {
  const auto first = static_cast<std::uint64_t>(row) + 1;
  const auto begin = number_at(bytes, first);
  return bytes.subspan(begin, number_at(bytes, first + 1) - begin);  // in order and inside, says open_mds_shard
}

bool is_known_hash(const std::string& algorithm) { return digest_named(algorithm) != nullptr; }

void check_count(const Blob& blob, const MdsEntry& entry) {
  check_size(blob, entry.stored());
  std::array<std::byte, sizeof(std::uint32_t)> count{};
  if (entry.zip) {
    const auto view = blob.view(0, blob.size());
    try {
      Unzip(blob, view.bytes).next(count);
    } catch (const DamagedSample&) {
      return;  // costs its samples, once they are read
    }
  } else {
    std::ranges::copy(blob.view(0, count.size()).bytes, count.begin());
  }
  if (number_at(count, 0) != static_cast<std::uint64_t>(entry.samples)) {
    fail(blob, fmt::format("it holds {} samples, the index says {}", number_at(count, 0), entry.samples));
  }
}

std::shared_ptr<const MdsShard> open_mds_shard(std::shared_ptr<const Blob> blob, const MdsEntry& entry,
                                               const std::vector<MdsColumn>& columns) {
  auto shard = std::make_shared<MdsShard>();
  auto view = checked_bytes(*blob, entry.stored());
  if (entry.zip) {
    const auto file = unzip(*blob, view.bytes, entry.raw.bytes);
    // The stored file's hash, if it was there to be checked, is enough.
    if (entry.zip->algorithm.empty()) {
      if (auto why = difference(file->bytes(), entry.raw); !why.empty()) fail(*blob, std::move(why));
    }
    shard->bytes = file->bytes();
    shard->keeps = file;
    shard->held_bytes = entry.raw.bytes;
  } else {
    shard->bytes = view.bytes;
    shard->held_bytes = view.keeps ? entry.raw.bytes : 0;
    shard->keeps = std::move(view.keeps);
  }
  check_form(*blob, shard->bytes, entry, columns);
  shard->blob = std::move(blob);
  return shard;
}

std::vector<MdsColumn> parse_columns(std::string_view json_text) {
  const auto config = nlohmann::json::parse(json_text);
  std::vector<MdsColumn> columns;
  const auto& names = config.at("column_names");
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& size = config.at("column_sizes").at(i);
    columns.push_back({.name = names.at(i),
                       .encoding = config.at("column_encodings").at(i),
                       .size = size.is_null() ? 0 : whole_number<std::uint64_t>(size)});
  }
  return columns;
}

}  // namespace lockstep
