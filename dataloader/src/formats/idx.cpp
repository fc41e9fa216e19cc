// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/idx.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <memory>
#include <numeric>
#include <optional>
#include <system_error>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little, "IdxFile::bytes are little-endian");

constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;

[[noreturn]] void fail(const std::filesystem::path& path, std::string why, std::string fix) {
  throw DataError({.what = fmt::format("IDX file {}", path.string()), .why = std::move(why), .fix = std::move(fix)});
}

struct CloseGzip {
  void operator()(gzFile_s* file) const noexcept { gzclose_r(file); }
};

// zlib reads plain files as they are, so that one path serves both.
class GzipReader {
 public:
  explicit GzipReader(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) {
      fail(path_, std::error_code(errno, std::generic_category()).message(), "check the path");
    }
  }

  // Returns fewer bytes than asked for only at the end of the file.
  std::size_t read(void* out, std::size_t bytes) {
    const int got = gzread(file_.get(), out, static_cast<unsigned>(bytes));
    int code = Z_OK;
    const char* text = gzerror(file_.get(), &code);
    if (got < 0 || code == Z_BUF_ERROR) {  // Z_BUF_ERROR: the compressed stream ends too soon
      fail(path_, fmt::format("it cannot be read or decompressed ({})", text), "download it again");
    }
    return static_cast<std::size_t>(got);
  }

 private:
  const std::filesystem::path& path_;
  std::unique_ptr<gzFile_s, CloseGzip> file_;
};

std::optional<DType> dtype_of(unsigned char code) noexcept {
  switch (code) {
    case 0x08:
      return DType::uint8;
    case 0x09:
      return DType::int8;
    case 0x0B:
      return DType::int16;
    case 0x0C:
      return DType::int32;
    case 0x0D:
      return DType::float32;
    case 0x0E:
      return DType::float64;
    default:
      return std::nullopt;
  }
}

// Magic number (0, 0, type, dimensions), then each dimension as a big-endian 32-bit number.
IdxFile read_header(GzipReader& reader, const std::filesystem::path& path) {
  const std::string not_idx = "give an IDX file, plain or compressed by gzip";
  std::array<unsigned char, 4> magic{};
  if (reader.read(magic.data(), magic.size()) < magic.size()) {
    fail(path, "it is shorter than an IDX header", not_idx);
  }
  if (magic[0] != 0 || magic[1] != 0 || magic[3] == 0) {
    fail(path, fmt::format("wrong magic number {:02x}", fmt::join(magic, " ")), not_idx);
  }
  const auto dtype = dtype_of(magic[2]);
  if (!dtype) {
    fail(path, fmt::format("unknown element type 0x{:02x}", magic[2]), not_idx);
  }
  IdxFile file{.dtype = *dtype, .shape = {}, .bytes = {}};
  for (int left = magic[3]; left > 0; --left) {
    std::array<unsigned char, 4> size{};
    if (reader.read(size.data(), size.size()) < size.size()) {
      fail(path, "it ends within its header", "download it again");
    }
    file.shape.push_back(std::accumulate(size.begin(), size.end(), std::int64_t{0},
                                         [](std::int64_t value, unsigned char byte) { return value << 8 | byte; }));
  }
  return file;
}

std::size_t payload_bytes(const IdxFile& file, const std::filesystem::path& path) {
  std::size_t bytes = size_of(file.dtype);
  for (const auto size : file.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes)) {
      fail(path, fmt::format("its dimensions are too large: [{}]", fmt::join(file.shape, ", ")), "download it again");
    }
  }
  return bytes;
}

void reverse_each_element(std::vector<std::byte>& bytes, std::size_t element_bytes) {
  for (auto first = bytes.begin(); first != bytes.end(); first += static_cast<std::ptrdiff_t>(element_bytes)) {
    std::reverse(first, first + static_cast<std::ptrdiff_t>(element_bytes));
  }
}

}  // namespace

IdxFile read_idx(const std::filesystem::path& path) {
  GzipReader reader(path);
  IdxFile file = read_header(reader, path);
  const std::size_t expected = payload_bytes(file, path);
  // In pieces: memory grows with what the file delivers, not with what its header claims.
  while (file.bytes.size() < expected) {
    const std::size_t before = file.bytes.size();
    const std::size_t wanted = std::min(kPieceBytes, expected - before);
    file.bytes.resize(before + wanted);
    if (const std::size_t got = reader.read(file.bytes.data() + before, wanted); got < wanted) {
      fail(path,
           fmt::format("it is too short: {} bytes of data where its header [{}] × {} says {}", before + got,
                       fmt::join(file.shape, ", "), name_of(file.dtype), expected),
           "download it again");
    }
  }
  // This read also lets zlib check the checksum at the end of a compressed file.
  if (std::byte extra{}; reader.read(&extra, 1) != 0) {
    fail(path,
         fmt::format("it is longer than its header [{}] × {} says ({} bytes of data)", fmt::join(file.shape, ", "),
                     name_of(file.dtype), expected),
         "download it again");
  }
  reverse_each_element(file.bytes, size_of(file.dtype));
  return file;
}

}  // namespace lockstep
