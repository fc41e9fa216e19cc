// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "interchange/foreign_tensors.hpp"
#include "interchange/zip.hpp"

// Field by field: APPNOTE.TXT 6.3, sections 4.3 and 4.5.
namespace lockstep {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kLocator64 = 0x07064b50;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::size_t kLocatorBytes = 20;
constexpr std::uint32_t kIn64Bits = 0xffffffff;  // the value is in the ZIP64 field

[[noreturn]] void refuse_zip(std::string why) { refuse("its ZIP container", std::move(why)); }

// Fields from the front of a run of bytes.
class Fields {
 public:
  explicit Fields(Bytes bytes) : rest_(bytes) {}

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  Bytes take(std::size_t bytes) {
    if (bytes > rest_.size()) refuse_zip("it ends in the middle of a header");
    const Bytes taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }

 private:
  Bytes rest_;
};

Bytes from(Bytes file, std::uint64_t offset) {
  if (offset > file.size()) refuse_zip(fmt::format("it points to byte {} of {}", offset, file.size()));
  return file.subspan(offset);
}

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct Directory {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;
};

// From the back: a comment of up to 64 KiB may follow the end record.
std::size_t find_end(Bytes file) {
  constexpr std::size_t kLongestComment = 0xffff;
  if (file.size() >= kEndBytes) {
    const std::size_t last = file.size() - kEndBytes;
    for (std::size_t back = 0; back <= std::min(last, kLongestComment); ++back) {
      if (Fields(file.subspan(last - back)).take<std::uint32_t>() == kEnd) return last - back;
    }
  }
  refuse_zip("there is none; only what torch.save of PyTorch 1.6 and later writes is read");
}

Directory read_end(Bytes file) {
  const std::size_t end = find_end(file);
  if (end >= kLocatorBytes) {
    Fields locator(file.subspan(end - kLocatorBytes));
    if (locator.take<std::uint32_t>() == kLocator64) {
      locator.take(4);  // disk
      Fields end64(from(file, locator.take<std::uint64_t>()));
      if (end64.take<std::uint32_t>() != kEnd64) refuse_zip("its ZIP64 end record is not where it should be");
      end64.take(kEnd64Bytes - 4 - 24);  // sizes, versions, disks, and the entries on this disk
      return {end64.take<std::uint64_t>(), end64.take<std::uint64_t>(), end64.take<std::uint64_t>()};
    }
  }
  Fields record(file.subspan(end + 10));  // behind signature, disks, and the entries on this disk
  return {record.take<std::uint16_t>(), record.take<std::uint32_t>(), record.take<std::uint32_t>()};
}

struct Entry {
  std::uint64_t bytes = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t offset = 0;  // of its local header
  std::string_view name{};
};

// The values that did not fit 32 bits, in this order.
void read_extra64(Fields extra, Entry& entry) {
  constexpr std::uint16_t kZip64 = 1;
  while (!extra.empty()) {
    const auto id = extra.take<std::uint16_t>();
    Fields content(extra.take(extra.take<std::uint16_t>()));
    if (id != kZip64) continue;
    for (std::uint64_t* const value : {&entry.bytes, &entry.stored_bytes, &entry.offset}) {
      if (*value == kIn64Bits) *value = content.take<std::uint64_t>();
    }
  }
}

Entry read_central_header(Fields& directory) {
  if (directory.take<std::uint32_t>() != kCentralHeader) refuse_zip("its directory is damaged");
  directory.take(4);  // versions
  const auto flags = directory.take<std::uint16_t>();
  const auto method = directory.take<std::uint16_t>();
  directory.take(8);  // time, date, CRC-32, which PyTorch does not look at either
  Entry entry;
  entry.stored_bytes = directory.take<std::uint32_t>();
  entry.bytes = directory.take<std::uint32_t>();
  const auto name_bytes = directory.take<std::uint16_t>();
  const auto extra_bytes = directory.take<std::uint16_t>();
  const auto comment_bytes = directory.take<std::uint16_t>();
  directory.take(8);  // disk, attributes
  entry.offset = directory.take<std::uint32_t>();
  entry.name = text_of(directory.take(name_bytes));
  read_extra64(Fields(directory.take(extra_bytes)), entry);
  directory.take(comment_bytes);
  constexpr unsigned kEncrypted = 1;
  if (method != 0 || (flags & kEncrypted) != 0 || entry.bytes != entry.stored_bytes) {
    refuse_zip("an entry is compressed or encrypted, which torch.save does not do");
  }
  return entry;
}

Bytes entry_bytes(Bytes file, const Entry& entry) {
  const Bytes at = from(file, entry.offset);
  Fields header(at);
  if (header.take<std::uint32_t>() != kLocalHeader) refuse_zip("an entry is not where its directory says");
  header.take(22);  // what the directory says too
  const auto name_bytes = header.take<std::uint16_t>();
  const auto extra_bytes = header.take<std::uint16_t>();
  if (text_of(header.take(name_bytes)) != entry.name) refuse_zip("its directory and an entry differ in the name");
  header.take(extra_bytes);
  return header.take(entry.bytes);
}

}  // namespace

std::map<std::string_view, Bytes> stored_entries(Bytes file) {
  const Directory directory = read_end(file);
  const Bytes at = from(file, directory.offset);
  if (directory.bytes > at.size()) refuse_zip("its directory goes on behind its end");
  Fields headers(at.first(directory.bytes));
  std::map<std::string_view, Bytes> entries;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {  // ends with the bytes, whatever the number says
    const Entry entry = read_central_header(headers);
    if (!entries.emplace(entry.name, entry_bytes(file, entry)).second) refuse_zip("two entries have one name");
  }
  return entries;
}

}  // namespace lockstep
