// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/pack.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/formats.hpp"
#include "formats/shard_index.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/sample.hpp"
#include "pack/shard_stream.hpp"

namespace lockstep {
namespace {

constexpr std::int64_t kSamplesBetweenUpdates = 1000;
constexpr std::int64_t kMostListed = 1000;

void tell(PackProgress* progress, std::int64_t done, std::int64_t samples) {
  if (progress != nullptr && (done % kSamplesBetweenUpdates == 0 || done == samples)) progress->update(done, samples);
}

// NumPy's name of a dtype; empty if it has none.
std::string_view numpy_name(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return "<f8";
    case DType::float32:
      return "<f4";
    case DType::float16:
      return "<f2";
    case DType::bfloat16:
      return {};
    case DType::int64:
      return "<i8";
    case DType::int32:
      return "<i4";
    case DType::int16:
      return "<i2";
    case DType::int8:
      return "|i1";
    case DType::uint8:
      return "|u1";
    case DType::boolean:
      return "|b1";
  }
  return {};
}

std::size_t row_bytes(const StoredField& field) {
  return FieldInfo{.name = {}, .dtype = field.dtype, .shape = field.shape}.row_bytes();
}

// A sample's bytes as an npy file (NumPy Enhancement Proposal 1, version 1.0).
void make_npy(const StoredField& field, std::span<const std::byte> bytes, std::vector<std::byte>& file) {
  auto shape = field.shape;
  if (!shape.empty() && shape.front() < 0) shape.front() = static_cast<std::int64_t>(bytes.size() / row_bytes(field));
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   numpy_name(field.dtype), fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  constexpr std::size_t kStart = 10;  // magic, version and the header's size; the data starts at a multiple of 64
  header.append(63 - (kStart + header.size()) % 64, ' ').push_back('\n');
  const std::array<char, kStart> start{'\x93',
                                       'N',
                                       'U',
                                       'M',
                                       'P',
                                       'Y',
                                       1,
                                       0,
                                       static_cast<char>(header.size() & 0xFFU),
                                       static_cast<char>(header.size() >> 8U)};
  file.resize(kStart + header.size() + bytes.size());
  auto place = std::ranges::copy(std::as_bytes(std::span(start)), file.begin()).out;
  place = std::ranges::copy(std::as_bytes(std::span(header)), place).out;
  std::ranges::copy(bytes, place);
}

std::string name_in_tar(const StoredField& field) {
  if (field.encoding == "raw") return field.name + ".npy";
  return encoding_of(field.name) == field.encoding ? field.name : fmt::format("{}.{}", field.name, field.encoding);
}

void check_npy(const StoredField& field) {
  if (field.encoding == "raw" && numpy_name(field.dtype).empty()) {
    throw UsageError({.what = fmt::format("pack field \"{}\" into tar", field.name),
                      .why = fmt::format("npy cannot hold {}", name_of(field.dtype)),
                      .fix = "leave it out, or convert it first"});
  }
}

// Reads pieces of the samples and takes them apart into columns.
class Columns {
 public:
  Columns(const RecordReader& from, PackProgress* progress)
      : from_(from), progress_(progress), columns_(from.fields().size()) {}

  std::span<const std::byte> read(Range samples, std::size_t column) {
    if (column == 0) read_all(samples);
    return columns_[column];
  }

 private:
  void read_all(Range samples) {
    for (auto& column : columns_) column.clear();
    for (auto sample = samples.first; sample < samples.last; ++sample) {
      from_.read(sample, record_);
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        const auto bytes = record_.fields[i];
        const auto& field = from_.fields()[i];
        if (bytes.size() != row_bytes(field)) {
          throw DataError({.what = fmt::format("{}, field \"{}\"", from_.describe(sample), field.name),
                           .why = fmt::format("it has {} bytes, not {}", bytes.size(), row_bytes(field))});
        }
        columns_[i].insert(columns_[i].end(), bytes.begin(), bytes.end());
      }
      tell(progress_, sample + 1, from_.samples());
    }
  }

  const RecordReader& from_;
  PackProgress* const progress_;
  Record record_;
  std::vector<std::vector<std::byte>> columns_;
};

FieldSchema schema_of(const StoredField& field) {
  const bool ragged = !field.shape.empty() && field.shape.front() < 0;
  if (field.encoding != "raw" || ragged) {
    throw UsageError(
        {.what = fmt::format("pack field \"{}\" into HDF5 shards", field.name),
         .why = ragged ? "its length differs from sample to sample" : fmt::format("it is stored as {}", field.encoding),
         .fix = "pack into tar shards, which hold anything"});
  }
  return {.name = field.name,
          .dtype = field.dtype,
          .shape = field.shape,
          .delivered = field.dtype == DType::int64 ? DType::int64 : DType::float32};
}

}  // namespace

PackedCounts pack_tar(const RecordReader& from, const std::filesystem::path& folder, const PackOptions& options,
                      PackProgress* progress) {
  std::vector<std::string> names;
  for (const auto& field : from.fields()) {
    check_npy(field);
    names.push_back(name_in_tar(field));
  }
  TarWriter writer(folder, options);
  Record record;
  std::vector<std::vector<std::byte>> npy(names.size());
  std::vector<FieldBytes> fields;
  for (std::int64_t sample = 0; sample < from.samples(); ++sample) {
    from.read(sample, record);
    fields.clear();
    for (std::size_t i = 0; i < names.size(); ++i) {
      auto bytes = record.fields[i];
      if (bytes.data() == nullptr) continue;
      if (from.fields()[i].encoding == "raw") {
        make_npy(from.fields()[i], bytes, npy[i]);
        bytes = npy[i];
      }
      fields.push_back({names[i], bytes});
    }
    writer.add(fmt::format("{:09}", sample), fields);
    tell(progress, sample + 1, from.samples());
  }
  return writer.finish();
}

PackedCounts pack_hdf5(const RecordReader& from, const std::filesystem::path& folder, int shards,
                       PackProgress* progress) {
  std::vector<FieldSchema> schemas;
  std::ranges::transform(from.fields(), std::back_inserter(schemas), schema_of);
  Columns columns(from, progress);
  const auto bytes =
      write_shards_from(folder, from.samples(), schemas, shards,
                        [&columns](Range samples, std::size_t column) { return columns.read(samples, column); });
  return {.samples = from.samples(), .shards = shards, .bytes = bytes};
}

VerifyReport verify(const RecordReader& reader, PackProgress* progress) {
  VerifyReport report;
  Record record;
  for (std::int64_t sample = 0; sample < reader.samples(); ++sample) {
    try {
      reader.read(sample, record);
      for (const auto field : record.fields) report.bytes += field.size();
    } catch (const DamagedSample& error) {
      if (++report.damaged <= kMostListed) {
        report.first.push_back({sample, reader.describe(sample), error.text().why});
      }
    }
    ++report.samples;
    tell(progress, report.samples, reader.samples());
  }
  return report;
}

}  // namespace lockstep
