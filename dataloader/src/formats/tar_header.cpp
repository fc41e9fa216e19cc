// SPDX-License-Identifier: Apache-2.0
#include "formats/tar_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <numeric>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kWindowBytes = 64 * 1024;
constexpr std::uint64_t kMostMetaBytes = 1024 * 1024;  // of a name or of pax records; file systems allow 4 KiB

// POSIX.1-2001 "ustar Interchange Format".
struct Header {
  char name[100];
  char mode_and_owner[24];
  char size[12];
  char time[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[8];
  char names_and_devices[80];
  char prefix[155];
  char rest[12];
};
static_assert(sizeof(Header) == kTarBlock);

template <std::size_t size>
std::string_view text_in(const char (&field)[size]) {
  return {field, ::strnlen(field, size)};
}

// An octal number, or, if the highest bit is set, GNU's binary one. Nothing if it is neither, or too large for us.
std::optional<std::uint64_t> number_in(std::string_view field) {
  std::uint64_t number = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    for (std::size_t i = 0; i < field.size(); ++i) {
      if (number >> 55U != 0) return std::nullopt;
      number = number << 8U | (static_cast<unsigned char>(field[i]) & (i == 0 ? 0x7FU : 0xFFU));
    }
    return number;
  }
  field.remove_prefix(std::min(field.find_first_not_of(' '), field.size()));
  field = field.substr(0, field.find_first_of(std::string_view(" \0", 2)));
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), number, 8);
  if (!field.empty() && (error != std::errc{} || end != field.data() + field.size())) return std::nullopt;
  return number;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// Of all bytes, with spaces in place of the checksum itself. Some old writers took bytes as signed.
bool checksum_holds(std::span<const std::byte> block, const Header& header) {
  const auto stated = number_in({header.checksum, sizeof header.checksum});
  const auto* bytes = reinterpret_cast<const unsigned char*>(block.data());
  unsigned sum = 8 * ' ';
  for (std::size_t i = 0; i < kTarBlock; ++i) sum += bytes[i];
  for (const char c : header.checksum) sum -= static_cast<unsigned char>(c);
  if (stated == sum) return true;
  const auto is_high = [](std::byte byte) { return byte >= std::byte{0x80}; };
  auto high = std::ranges::count_if(block, is_high);
  high -= std::ranges::count_if(std::as_bytes(std::span(header.checksum)), is_high);
  return stated && static_cast<std::int64_t>(*stated) == static_cast<std::int64_t>(sum) - 256 * high;
}

Header parse(std::span<const std::byte> block) {
  Header header;
  std::memcpy(&header, block.data(), sizeof header);
  return header;
}

void join_name(const Header& header, std::string& name) {
  name.clear();
  // GNU's own format has "ustar " here and other things in place of the prefix.
  if (std::memcmp(header.magic, "ustar", 6) == 0 && header.prefix[0] != '\0') {
    name.append(text_in(header.prefix)).push_back('/');
  }
  name.append(text_in(header.name));
}

std::uint64_t in_whole_blocks(std::uint64_t bytes) { return (bytes + kTarBlock - 1) / kTarBlock * kTarBlock; }

}  // namespace

void TarWalker::fail(const std::string& why) const {
  throw DataError({.what = fmt::format("tar file {}", tar_.name()),
                   .why = fmt::format("{} (at byte {})", why, position_),
                   .fix = "copy it again, or pack it again"});
}

// Of bytes inside the file. Valid until the next call.
std::span<const std::byte> TarWalker::view(std::uint64_t offset, std::uint64_t bytes) {
  if (offset < window_offset_ || offset + bytes > window_offset_ + window_.bytes.size()) {
    window_ = tar_.view(offset, std::min(std::max(bytes, kWindowBytes), tar_.size() - offset));
    window_offset_ = offset;
  }
  return window_.bytes.subspan(offset - window_offset_, bytes);
}

// The header at position_; empty at the end of the archive.
std::span<const std::byte> TarWalker::header() {
  if (position_ > tar_.size() || tar_.size() - position_ < kTarBlock) {
    fail("it is truncated: it stops without an end-of-archive block");
  }
  for (bool again = false;; again = true) {
    const auto block = view(position_, kTarBlock);
    if (checksum_holds(block, parse(block))) return block;
    if (is_zero(block)) return {};
    if (again || !tar_.refetch(position_, kTarBlock))
      fail("there is no header, or it is damaged: its checksum is wrong");
    window_ = {};
  }
}

// The content of a header that describes the next one.
std::string_view TarWalker::meta_data(std::uint64_t bytes) {
  if (bytes > kMostMetaBytes) fail(fmt::format("a name or extended header of {} bytes", bytes));
  const auto data = view(position_ + kTarBlock, bytes);
  digest_ = crc32c(data, digest_);
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// Records "LENGTH KEY=VALUE\n"; LENGTH counts all of it.
void TarWalker::read_pax(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    const auto equals = records.find('=');
    if (error != std::errc{} || length > records.size() || equals >= length || records[digits] != ' ' ||
        records[length - 1] != '\n' || equals < digits) {
      fail("its extended header is damaged");
    }
    const auto key = records.substr(digits + 1, equals - digits - 1);
    const auto value = records.substr(equals + 1, length - equals - 2);
    if (key == "path") {
      long_name_ = value;
    } else if (key == "size") {
      std::uint64_t size = 0;
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), size);
      if (parsed.ec != std::errc{} || parsed.ptr != value.data() + value.size()) fail("its extended header is damaged");
      long_size_ = size;
    } else if (key.starts_with("GNU.sparse.")) {
      fail("it holds a sparse file, which lockstep does not read: write it without --sparse");
    }
    records.remove_prefix(length);
  }
}

// After the first block of zeros. A second archive behind it would be lost samples, a hole in the file as well.
void TarWalker::check_end() {
  while (position_ < tar_.size()) {
    const auto bytes = std::min(kWindowBytes, tar_.size() - position_);
    if (!is_zero(view(position_, bytes))) {
      fail("data follow its end: it has a hole, or several tar files were concatenated");
    }
    position_ += bytes;
  }
}

std::optional<TarEntry> TarWalker::next() {
  for (;;) {
    const auto block = header();
    if (block.empty()) {
      check_end();
      return std::nullopt;
    }
    digest_ = crc32c(block, digest_);
    const Header header = parse(block);
    const auto stated = number_in({header.size, sizeof header.size});
    const char type = header.type;
    const bool describes_next = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    const bool has_no_data = type >= '1' && type <= '6';  // links, devices, folders: whatever size they state
    if (!stated) fail("its header states no size");
    const auto bytes = has_no_data ? 0 : describes_next ? *stated : long_size_.value_or(*stated);
    const auto data = position_ + kTarBlock;
    if (bytes > tar_.size() - data) {
      fail(fmt::format("it is truncated: {} bytes of data are missing", bytes - (tar_.size() - data)));
    }
    if (type == 'S' || type == 'M')
      fail("it holds a sparse file or one in several volumes, which lockstep does not read");
    if (type == 'x') {
      read_pax(meta_data(bytes));
    } else if (type == 'L') {
      const auto text = meta_data(bytes);
      long_name_ = text.substr(0, text.find('\0'));
    }
    position_ = data + in_whole_blocks(bytes);
    if (describes_next) continue;
    if (long_name_) {
      name_ = *long_name_;
    } else {
      join_name(header, name_);
    }
    long_name_.reset();
    long_size_.reset();
    if (type == '0' || type == '\0' || type == '7') return TarEntry{name_, data, bytes};
  }
}

std::string tar_name_at(const Blob& tar, std::uint64_t offset) {
  // A long name stands in front of the header, with a header of its own.
  const auto describes = [&](std::uint64_t start) {
    const auto block = tar.view(start, kTarBlock);
    const Header header = parse(block.bytes);
    const auto bytes = number_in({header.size, sizeof header.size});
    return (header.type == 'x' || header.type == 'L') && checksum_holds(block.bytes, header) && bytes &&
           in_whole_blocks(*bytes) == offset - start - 2 * kTarBlock;
  };
  try {
    std::uint64_t start = offset - kTarBlock;
    for (std::uint64_t back = 3; back <= 10 && back * kTarBlock <= offset; ++back) {
      if (describes(offset - back * kTarBlock)) start = offset - back * kTarBlock;
    }
    TarWalker walker(tar, start);
    const auto entry = walker.next();
    return entry && entry->offset == offset ? std::string(entry->name) : std::string();
  } catch (const Error&) {
    return {};
  }
}

}  // namespace lockstep
