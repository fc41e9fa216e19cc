// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

// Writes tar files byte by byte, so that a test can have any damage.
class TarMaker {
 public:
  // One file of any type with a correct header.
  TarMaker& add(std::string_view name, std::string_view content, char type = '0') {
    std::string header(512, '\0');
    header.replace(0, name.size(), name);
    header.replace(100, 8, std::string("0000644\0", 8));
    std::snprintf(header.data() + 124, 12, "%011zo", content.size());
    header[156] = type;
    header.replace(257, 8, std::string("ustar\00000", 8));
    return add_raw(with_checksum(header), content);
  }

  TarMaker& add_raw(const std::string& header, std::string_view content) {
    bytes_ += header;
    bytes_ += content;
    bytes_.resize((bytes_.size() + 511) / 512 * 512);
    return *this;
  }

  [[nodiscard]] static std::string with_checksum(std::string header) {
    header.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::snprintf(header.data() + 148, 8, "%06o", sum);
    return header;
  }

  [[nodiscard]] std::string finished() const { return bytes_ + std::string(1024, '\0'); }
  [[nodiscard]] const std::string& unfinished() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The fields of one sample as text; "(none)" where it does not have the field.
inline std::vector<std::string> read_texts(const RecordReader& reader, std::int64_t sample) {
  Record record;
  reader.read(sample, record);
  std::vector<std::string> texts;
  for (const auto field : record.fields) texts.push_back(field.data() == nullptr ? "(none)" : text_of(field));
  return texts;
}

inline std::vector<std::string> names_of(const std::vector<StoredField>& fields) {
  std::vector<std::string> names;
  for (const auto& field : fields) names.push_back(field.name);
  return names;
}

}  // namespace lockstep
