// SPDX-License-Identifier: Apache-2.0
#include "formats/compress.hpp"

#include <fmt/format.h>
#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30U;

[[noreturn]] void damaged(std::string why) { throw DamagedSample({.why = std::move(why)}); }

struct Progress {
  std::size_t read = 0;
  std::size_t written = 0;
  bool frame_ended = false;
};

// The stream interfaces of both libraries, made alike. One a thread: their memory is used again.
class ZstdStream {
 public:
  void reset() { ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only); }

  Progress step(std::span<const std::byte> from, std::span<std::byte> to) {
    ZSTD_inBuffer in{from.data(), from.size(), 0};
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    const auto left = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(left) != 0) damaged(fmt::format("zstd: {}", ZSTD_getErrorName(left)));
    return {in.pos, out.pos, left == 0};
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_{ZSTD_createDCtx()};
};

class Lz4Stream {
 public:
  Lz4Stream() {
    LZ4F_dctx* context = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) != 0) throw std::bad_alloc();
    context_.reset(context);
  }
  void reset() { LZ4F_resetDecompressionContext(context_.get()); }

  Progress step(std::span<const std::byte> from, std::span<std::byte> to) {
    std::size_t read = from.size();
    std::size_t written = to.size();
    const auto left = LZ4F_decompress(context_.get(), to.data(), &written, from.data(), &read, nullptr);
    if (LZ4F_isError(left) != 0) damaged(fmt::format("lz4: {}", LZ4F_getErrorName(left)));
    return {read, written, left == 0};
  }

 private:
  struct Free {
    void operator()(LZ4F_dctx* context) const noexcept { LZ4F_freeDecompressionContext(context); }
  };
  std::unique_ptr<LZ4F_dctx, Free> context_;
};

template <typename Stream>
std::size_t decompress_with(Stream& stream, std::span<const std::byte> from, std::vector<std::byte>& buffer,
                            std::size_t at) {
  stream.reset();
  // A guess from the bytes that are there; what the frame claims is not believed.
  buffer.resize(std::max(buffer.size(), at + 4 * from.size() + 64));
  std::size_t end = at;
  for (bool complete = false; !from.empty() || !complete;) {
    if (end == buffer.size()) {
      if (end - at >= kMostBytes) damaged(fmt::format("it decompresses to more than {} bytes", kMostBytes));
      buffer.resize(at + std::min(2 * (end - at), kMostBytes));
    }
    const Progress progress = stream.step(from, std::span(buffer).subspan(end));
    from = from.subspan(progress.read);
    end += progress.written;
    complete = progress.frame_ended;
    if (from.empty() && !complete && end < buffer.size()) damaged("the compressed data ends too soon");
  }
  return end - at;
}

void check_zstd(std::size_t result) {
  if (ZSTD_isError(result) != 0) throw Error({.what = "compress by zstd", .why = ZSTD_getErrorName(result)});
}

void compress_zstd(std::span<const std::byte> from, std::vector<std::byte>& to) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  check_zstd(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1));
  to.resize(ZSTD_compressBound(from.size()));
  const auto size = ZSTD_compress2(context.get(), to.data(), to.size(), from.data(), from.size());
  check_zstd(size);
  to.resize(size);
}

void compress_lz4(std::span<const std::byte> from, std::vector<std::byte>& to) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  preferences.frameInfo.contentSize = from.size();
  to.resize(LZ4F_compressFrameBound(from.size(), &preferences));
  const auto size = LZ4F_compressFrame(to.data(), to.size(), from.data(), from.size(), &preferences);
  if (LZ4F_isError(size) != 0) throw Error({.what = "compress by lz4", .why = LZ4F_getErrorName(size)});
  to.resize(size);
}

}  // namespace

std::string_view suffix_of(Compression compression) noexcept {
  switch (compression) {
    case Compression::none:
      break;
    case Compression::zstd:
      return ".zst";
    case Compression::lz4:
      return ".lz4";
  }
  return {};
}

Compression compression_of(std::string_view file_name) noexcept {
  for (const auto compression : {Compression::zstd, Compression::lz4}) {
    if (file_name.ends_with(suffix_of(compression))) return compression;
  }
  return Compression::none;
}

void compress(Compression compression, std::span<const std::byte> from, std::vector<std::byte>& to) {
  switch (compression) {
    case Compression::none:
      to.assign(from.begin(), from.end());
      break;
    case Compression::zstd:
      compress_zstd(from, to);
      break;
    case Compression::lz4:
      compress_lz4(from, to);
      break;
  }
}

std::size_t decompress(Compression compression, std::span<const std::byte> from, std::vector<std::byte>& buffer,
                       std::size_t at) {
  if (compression == Compression::zstd) {
    thread_local ZstdStream stream;
    return decompress_with(stream, from, buffer, at);
  }
  thread_local Lz4Stream stream;
  return decompress_with(stream, from, buffer, at);
}

}  // namespace lockstep
