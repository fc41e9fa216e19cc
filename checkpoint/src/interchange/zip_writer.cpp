// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include <cstring>

#include "interchange/zip.hpp"

// Field by field: APPNOTE.TXT 6.3, sections 4.3 and 4.5.
namespace lockstep {
namespace {

constexpr std::uint16_t kVersion = 45;      // that which knows ZIP64
constexpr std::uint16_t kUtf8 = 1 << 11;    // names
constexpr std::uint16_t kFirstDate = 0x21;  // 1980-01-01: the same tensors, the same bytes
constexpr std::uint32_t kIn64Bits = 0xffffffff;
constexpr std::uint16_t kIn64Bits16 = 0xffff;
constexpr std::uint16_t kZip64 = 1;         // id of the extra field with the 64-bit sizes
constexpr std::uint16_t kPadding = 0x4246;  // that of PyTorch's padding: "FB"
constexpr std::uint64_t kAlignment = 64;

// Little-endian numbers, one behind the other.
template <typename... T>
std::string fields(T... values) {
  std::string bytes;
  const auto append = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  (append(values), ...);
  return bytes;
}

std::uint16_t length(const std::string& text) { return static_cast<std::uint16_t>(text.size()); }

std::uint32_t crc_of(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void append(ExportFile& file, const std::string& text) { file.append(std::as_bytes(std::span(text))); }

}  // namespace

void ZipWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  constexpr std::uint64_t kHeaderBytes = 30;
  Entry entry{name, crc_of(bytes), bytes.size(), file_.position()};
  std::string extra = fields(kZip64, std::uint16_t{16}, entry.bytes, entry.bytes);
  const std::uint64_t unpadded = entry.offset + kHeaderBytes + name.size() + extra.size() + 4;
  const auto padding = static_cast<std::uint16_t>((kAlignment - unpadded % kAlignment) % kAlignment);
  extra += fields(kPadding, padding) + std::string(padding, 'Z');
  append(file_, fields(std::uint32_t{0x04034b50}, kVersion, kUtf8, std::uint16_t{0}, std::uint16_t{0}, kFirstDate,
                       entry.crc, kIn64Bits, kIn64Bits, length(name), length(extra)) +
                    name + extra);
  file_.append(bytes);
  entries_.push_back(std::move(entry));
}

void ZipWriter::finish() {
  const std::uint64_t first = file_.position();
  for (const Entry& entry : entries_) {
    const std::string extra = fields(kZip64, std::uint16_t{24}, entry.bytes, entry.bytes, entry.offset);
    append(file_, fields(std::uint32_t{0x02014b50}, kVersion, kVersion, kUtf8, std::uint16_t{0}, std::uint16_t{0},
                         kFirstDate, entry.crc, kIn64Bits, kIn64Bits, length(entry.name), length(extra),
                         std::uint16_t{0}, std::uint16_t{0}, std::uint16_t{0}, std::uint32_t{0}, kIn64Bits) +
                      entry.name + extra);
  }
  const std::uint64_t end = file_.position();
  const auto entries = std::uint64_t{entries_.size()};
  append(file_, fields(std::uint32_t{0x06064b50}, std::uint64_t{44}, kVersion, kVersion, std::uint32_t{0},
                       std::uint32_t{0}, entries, entries, end - first, first));
  append(file_, fields(std::uint32_t{0x07064b50}, std::uint32_t{0}, end, std::uint32_t{1}));
  append(file_, fields(std::uint32_t{0x06054b50}, std::uint16_t{0}, std::uint16_t{0}, kIn64Bits16, kIn64Bits16,
                       kIn64Bits, kIn64Bits, std::uint16_t{0}));
}

}  // namespace lockstep
