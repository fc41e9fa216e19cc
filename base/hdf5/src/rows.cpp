// SPDX-License-Identifier: Apache-2.0
#include "lockstep/hdf5/rows.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include "lockstep/base/error.hpp"
#include "object.hpp"
#include "types.hpp"

namespace lockstep::hdf5 {
namespace {

DataError unusable(const std::string& subject, std::string why) {
  return DataError({.what = subject, .why = std::move(why), .fix = "leave it out by naming the fields to read"});
}

std::optional<DType> integer_dtype(std::size_t bytes, bool is_signed) noexcept {
  switch (bytes) {
    case 1:
      return is_signed ? DType::int8 : DType::uint8;
    case 2:
      return is_signed ? DType::int16 : DType::int32;
    case 4:
      return is_signed ? DType::int32 : DType::int64;
    case 8:
      return is_signed ? std::optional(DType::int64) : std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<DType> float_dtype(const Handle& stored, const std::string& subject) {
  for (const auto dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16}) {
    const auto type = type_of(dtype);
    if (check(H5Tequal(stored.get(), type.get()), "H5Tequal", subject) > 0) return dtype;
  }
  const auto bytes = H5Tget_size(stored.get());
  if (bytes == 4) return DType::float32;  // big-endian
  return bytes == 8 ? std::optional(DType::float64) : std::nullopt;
}

DType delivered_dtype(const Handle& stored, const std::string& subject) {
  std::optional<DType> dtype;
  if (H5Tget_class(stored.get()) == H5T_INTEGER) {
    dtype = integer_dtype(H5Tget_size(stored.get()), H5Tget_sign(stored.get()) == H5T_SGN_2);
  } else if (H5Tget_class(stored.get()) == H5T_FLOAT) {
    dtype = float_dtype(stored, subject);
  }
  if (!dtype) throw unusable(subject, "its elements are neither integers of up to 64 bits (signed) nor floats");
  return *dtype;
}

std::uint64_t checked_row_bytes(DType dtype, const std::vector<std::int64_t>& shape, const std::string& subject) {
  std::uint64_t bytes = size_of(dtype);
  std::uint64_t all = 0;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(shape[i]), &bytes)) {
      throw unusable(subject, "its shape is impossible");
    }
  }
  if (shape[0] < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(shape[0]), &all)) {
    throw unusable(subject, "its shape is impossible");
  }
  return bytes;
}

std::vector<std::int64_t> shape_of(const Handle& dataset, const std::string& subject) {
  const Handle space(check(H5Dget_space(dataset.get()), "H5Dget_space", subject), &H5Sclose);
  const auto rank = check(H5Sget_simple_extent_ndims(space.get()), "H5Sget_simple_extent_ndims", subject);
  if (rank == 0) throw unusable(subject, "it is a single value, not one for each sample");
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  check(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), "H5Sget_simple_extent_dims", subject);
  return {extents.begin(), extents.end()};
}

std::optional<std::uint64_t> offset_of(const Handle& dataset, const Handle& type, const std::string& subject) {
  const Handle properties(check(H5Dget_create_plist(dataset.get()), "H5Dget_create_plist", subject), &H5Pclose);
  const auto layout = check(H5Pget_layout(properties.get()), "H5Pget_layout", subject);
  if (layout == H5D_VIRTUAL || check(H5Pget_external_count(properties.get()), "H5Pget_external_count", subject) != 0) {
    throw unusable(subject, "its data are stored in another file");
  }
  const Handle stored(check(H5Dget_type(dataset.get()), "H5Dget_type", subject), &H5Tclose);
  const bool as_delivered = check(H5Tequal(stored.get(), type.get()), "H5Tequal", subject) > 0;
  const auto offset = H5Dget_offset(dataset.get());  // undefined where nothing was ever written
  if (layout != H5D_CONTIGUOUS || !as_delivered || offset == HADDR_UNDEF) return std::nullopt;
  return offset;
}

}  // namespace

Rows::Rows(const File& file, const std::string& path) : subject_(fmt::format("{}:{}", file.path_.string(), path)) {
  const auto held = lock();
  dataset_ = open_object(file.file_.get(), path, subject_);
  if (!is_dataset(dataset_)) throw unusable(subject_, "it is not a dataset");
  const Handle stored(check(H5Dget_type(dataset_.get()), "H5Dget_type", subject_), &H5Tclose);
  dtype_ = delivered_dtype(stored, subject_);
  type_ = type_of(dtype_);
  shape_ = shape_of(dataset_, subject_);
  row_bytes_ = checked_row_bytes(dtype_, shape_, subject_);
  file_offset_ = offset_of(dataset_, type_, subject_);
}

void Rows::read(std::int64_t row, std::span<std::byte> bytes) const {
  if (row < 0 || row >= shape_.front() || bytes.size() != row_bytes_) {
    throw UsageError({.what = fmt::format("row {} of {}", row, subject_),
                      .why = fmt::format("it has {} rows of {} bytes", shape_.front(), row_bytes_)});
  }
  if (bytes.empty()) return;
  const auto held = lock();
  std::vector<hsize_t> start(shape_.size(), 0);
  std::vector<hsize_t> count(shape_.begin(), shape_.end());
  start.front() = static_cast<hsize_t>(row);
  count.front() = 1;
  const Handle space(check(H5Dget_space(dataset_.get()), "H5Dget_space", subject_), &H5Sclose);
  check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
        "H5Sselect_hyperslab", subject_);
  const hsize_t elements = bytes.size() / size_of(dtype_);
  const Handle memory(check(H5Screate_simple(1, &elements, nullptr), "H5Screate_simple", subject_), &H5Sclose);
  check(H5Dread(dataset_.get(), type_.get(), memory.get(), space.get(), H5P_DEFAULT, bytes.data()), "H5Dread",
        subject_);
}

}  // namespace lockstep::hdf5
