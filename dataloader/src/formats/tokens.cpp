// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "formats/formats.hpp"
#include "formats/sharded_reader.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kHeaderBytes = 1024;  // llm.c: 256 × int32, of which magic, version and count are used

// https://github.com/karpathy/llm.c/blob/master/dev/data/data_common.py
struct KnownHeader {
  std::uint32_t magic;
  std::uint32_t version;
  int token_bytes;
};
constexpr std::array kHeaders{KnownHeader{20240520, 1, 2}, KnownHeader{20240801, 7, 4}};

struct TokenShard {
  std::shared_ptr<const Blob> blob;
  std::uint64_t first_byte = 0;  // of the tokens
  std::uint64_t tokens = 0;
  int token_bytes = 0;
};

[[noreturn]] void fail(const Blob& blob, std::string why, std::string fix) {
  throw DataError({.what = fmt::format("token file {}", blob.name()), .why = std::move(why), .fix = std::move(fix)});
}

TokenShard headerless(std::shared_ptr<const Blob> blob, int token_bytes) {
  const auto width = static_cast<std::uint64_t>(token_bytes);
  if (blob->size() % width != 0) {
    fail(*blob, fmt::format("{} bytes are not whole tokens of {} bytes", blob->size(), token_bytes),
         "set token_bytes, or copy the file again: it is cut off");
  }
  const auto tokens = blob->size() / width;
  return {.blob = std::move(blob), .first_byte = 0, .tokens = tokens, .token_bytes = token_bytes};
}

TokenShard open_shard(std::shared_ptr<const Blob> blob, int token_bytes) {
  if (blob->size() < kHeaderBytes) return headerless(std::move(blob), token_bytes);
  std::array<std::uint32_t, 3> header{};
  const auto view = blob->view(0, sizeof header);
  std::memcpy(header.data(), view.bytes.data(), sizeof header);
  const auto& [magic, version, count] = header;
  for (const auto& known : kHeaders) {
    if (magic != known.magic) continue;
    if (version != known.version) {
      fail(*blob, fmt::format("version {} of its header, known is {}", version, known.version), "write it again");
    }
    const auto found = (blob->size() - kHeaderBytes) / static_cast<std::uint64_t>(known.token_bytes);
    const bool whole = (blob->size() - kHeaderBytes) % static_cast<std::uint64_t>(known.token_bytes) == 0;
    if (found != count || !whole) {
      fail(*blob,
           fmt::format("its header says {} tokens, {} bytes of tokens are there", count, blob->size() - kHeaderBytes),
           "copy the file again");
    }
    return {.blob = std::move(blob), .first_byte = kHeaderBytes, .tokens = count, .token_bytes = known.token_bytes};
  }
  return headerless(std::move(blob), token_bytes);
}

class TokenReader final : public ShardedReader {
 public:
  TokenReader(const std::string& what, ShardLayout layout, std::vector<TokenShard> shards, std::int64_t stride)
      : ShardedReader(what, std::move(layout)),
        shards_(std::move(shards)),
        stride_(static_cast<std::uint64_t>(stride)) {}

  void read(std::int64_t sample, Record& record) const override {
    const auto [place, row] = locate(sample);
    const auto& shard = shards_[place];
    const auto width = static_cast<std::uint64_t>(shard.token_bytes);
    auto view =
        shard.blob->view(shard.first_byte + static_cast<std::uint64_t>(row) * stride_ * width, (stride_ + 1) * width);
    clear(record, 1);
    record.fields[0] = view.bytes;
    record.keeps.push_back(std::move(view.keeps));
  }

 private:
  const std::vector<TokenShard> shards_;
  const std::uint64_t stride_;
};

void check_options(const RecordOptions& options) {
  const auto fail_usage = [](std::string what, std::string fix) {
    throw UsageError({.what = std::move(what), .why = "token files do not tell it", .fix = std::move(fix)});
  };
  constexpr auto kMax = std::int64_t{1} << 32;  // far beyond any context; keeps products of sizes within 64 bits
  if (options.tokens_per_sample < 1 || options.tokens_per_sample > kMax) {
    fail_usage(fmt::format("tokens_per_sample {}", options.tokens_per_sample),
               "set it to the length of the input, ≥ 1");
  }
  if (options.token_bytes != 2 && options.token_bytes != 4) {
    fail_usage(fmt::format("token_bytes {}", options.token_bytes), "set it to 2 or 4");
  }
}

}  // namespace

std::unique_ptr<const RecordReader> open_tokens(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  check_options(options);
  const std::string what = fmt::format("token files of {}", store->location());
  ShardLayout layout{.names = data_files(*store, options, ".bin"), .samples = {}, .fields = {}, .identity = {}};
  std::vector<TokenShard> shards;
  layout.identity = fmt::format("tokens {}", options.tokens_per_sample);
  for (const auto& name : layout.names) {
    auto shard = open_shard(store->open(name), options.token_bytes);
    if (!shards.empty() && shard.token_bytes != shards.front().token_bytes) {
      fail(*shard.blob,
           fmt::format("its tokens have {} bytes, those of {} have {}", shard.token_bytes, layout.names.front(),
                       shards.front().token_bytes),
           "read them as two sources");
    }
    // The last token of a sample is the first of the next.
    const auto steps = shard.tokens == 0 ? 0 : shard.tokens - 1;
    layout.samples.push_back(static_cast<std::int64_t>(steps) / options.tokens_per_sample);
    layout.identity += fmt::format("\n{} {} {}", name, shard.blob->size(), shard.token_bytes);
    shards.push_back(std::move(shard));
  }
  static_cast<void>(select_fields(what, {"tokens"}, options.fields));  // for its complaint
  layout.fields.push_back({.name = "tokens",
                           .encoding = shards.front().token_bytes == 2 ? "tokens16" : "tokens32",
                           .dtype = DType::uint8,
                           .shape = {}});
  return std::make_unique<TokenReader>(what, std::move(layout), std::move(shards), options.tokens_per_sample);
}

}  // namespace lockstep
