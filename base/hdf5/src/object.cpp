// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include "types.hpp"

namespace lockstep::hdf5 {
namespace {

constexpr const char* kDTypeAttribute = "lockstep_dtype";
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 60;  // what a damaged shape may say; their bytes fit 64 bits

// A variable-length text that HDF5 allocated.
struct Text {
  char* data = nullptr;
  ~Text() { H5free_memory(data); }
};

std::optional<Handle> open_attribute(const Handle& object, const std::string& name, const std::string& subject) {
  if (check(H5Aexists(object.get(), name.c_str()), "H5Aexists", subject) == 0) return std::nullopt;
  Handle attribute(check(H5Aopen(object.get(), name.c_str(), H5P_DEFAULT), "H5Aopen", subject), &H5Aclose);
  const Handle space(check(H5Aget_space(attribute.get()), "H5Aget_space", subject), &H5Sclose);
  if (H5Sget_simple_extent_type(space.get()) != H5S_SCALAR) {
    throw refused(subject, fmt::format("attribute {} is not a single value", name));
  }
  return attribute;
}

void write_attribute(const Handle& object, const std::string& name, Id type, const void* value,
                     const std::string& subject) {
  if (check(H5Aexists(object.get(), name.c_str()), "H5Aexists", subject) > 0) {
    check(H5Adelete(object.get(), name.c_str()), "H5Adelete", subject);
  }
  const Handle space(check(H5Screate(H5S_SCALAR), "H5Screate", subject), &H5Sclose);
  const Handle attribute(
      check(H5Acreate2(object.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), "H5Acreate2", subject),
      &H5Aclose);
  check(H5Awrite(attribute.get(), type, value), "H5Awrite", subject);
}

std::vector<hsize_t> extents(Id space, const std::string& subject) {
  const auto rank = check(H5Sget_simple_extent_ndims(space), "H5Sget_simple_extent_ndims", subject);
  std::vector<hsize_t> dimensions(static_cast<std::size_t>(rank));
  check(H5Sget_simple_extent_dims(space, dimensions.data(), nullptr), "H5Sget_simple_extent_dims", subject);
  return dimensions;
}

DType read_dtype(const Handle& dataset, const std::string& subject) {
  const Handle stored(check(H5Dget_type(dataset.get()), "H5Dget_type", subject), &H5Tclose);
  // boolean is stored as uint8 and told apart by its attribute.
  for (const auto dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64, DType::int32,
                           DType::int16, DType::int8, DType::uint8}) {
    const auto type = type_of(dtype);
    if (check(H5Tequal(stored.get(), type.get()), "H5Tequal", subject) == 0) continue;
    const bool is_bool =
        dtype == DType::uint8 && read_text(dataset, kDTypeAttribute, subject) == name_of(DType::boolean);
    return is_bool ? DType::boolean : dtype;
  }
  throw refused(subject, "its element type is none that lockstep stores");
}

}  // namespace

DataError refused(const std::string& subject, std::string why) {
  return DataError({.what = subject, .why = std::move(why), .fix = "use a file that lockstep wrote"});
}

bool exists(Id file, const std::string& path, const std::string& subject) {
  for (auto end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const auto part = path.substr(0, end);
    if (check(H5Lexists(file, part.c_str(), H5P_DEFAULT), "H5Lexists", subject) == 0) return false;
    if (part == "/") return true;
    H5L_info_t link;
    check(H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT), "H5Lget_info", subject);
    if (link.type != H5L_TYPE_HARD) throw refused(subject, fmt::format("{} is a soft or external link", part));
    if (end == std::string::npos) return true;
  }
}

bool is_dataset(const Handle& object) noexcept { return H5Iget_type(object.get()) == H5I_DATASET; }

Handle open_object(Id file, const std::string& path, const std::string& subject) {
  if (!exists(file, path, subject)) throw DataError({.what = subject, .why = "not in the file"});
  return Handle(check(H5Oopen(file, path.c_str(), H5P_DEFAULT), "H5Oopen", subject), &H5Oclose);
}

DatasetInfo read_info(const Handle& dataset, const std::string& subject) {
  if (!is_dataset(dataset)) throw DataError({.what = subject, .why = "not a dataset"});
  const Handle properties(check(H5Dget_create_plist(dataset.get()), "H5Dget_create_plist", subject), &H5Pclose);
  if (check(H5Pget_layout(properties.get()), "H5Pget_layout", subject) != H5D_CONTIGUOUS) {
    throw refused(subject, "its data are not stored contiguously");
  }
  if (check(H5Pget_external_count(properties.get()), "H5Pget_external_count", subject) != 0) {
    throw refused(subject, "its data are stored in another file");
  }
  const Handle space(check(H5Dget_space(dataset.get()), "H5Dget_space", subject), &H5Sclose);
  const auto dimensions = extents(space.get(), subject);
  std::uint64_t elements = 1;
  for (const auto extent : dimensions) {
    if (__builtin_mul_overflow(elements, extent, &elements) || elements >= kMaxElements) {
      throw refused(subject, "its shape is impossible");
    }
  }
  const auto offset = H5Dget_offset(dataset.get());  // undefined where there are no elements
  return {.dtype = read_dtype(dataset, subject),
          .shape = {dimensions.begin(), dimensions.end()},
          .file_offset = offset == HADDR_UNDEF ? 0 : offset};
}

void mark_boolean(const Handle& dataset, const std::string& subject) {
  write_text(dataset, kDTypeAttribute, name_of(DType::boolean), subject);
}

std::optional<double> read_number(const Handle& object, const std::string& name, const std::string& subject) {
  const auto attribute = open_attribute(object, name, subject);
  if (!attribute) return std::nullopt;
  const Handle type(check(H5Aget_type(attribute->get()), "H5Aget_type", subject), &H5Tclose);
  if (H5Tget_class(type.get()) != H5T_FLOAT && H5Tget_class(type.get()) != H5T_INTEGER) {
    throw refused(subject, fmt::format("attribute {} is not a number", name));
  }
  double value = 0.0;
  check(H5Aread(attribute->get(), H5T_NATIVE_DOUBLE, &value), "H5Aread", subject);
  return value;
}

std::optional<std::string> read_text(const Handle& object, const std::string& name, const std::string& subject) {
  const auto attribute = open_attribute(object, name, subject);
  if (!attribute) return std::nullopt;
  const Handle type(check(H5Aget_type(attribute->get()), "H5Aget_type", subject), &H5Tclose);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) <= 0) {
    throw refused(subject, fmt::format("attribute {} is not a variable-length string", name));
  }
  Text text;
  check(H5Aread(attribute->get(), type.get(), &text.data), "H5Aread", subject);
  return text.data == nullptr ? "" : text.data;
}

void write_number(const Handle& object, const std::string& name, double value, const std::string& subject) {
  write_attribute(object, name, H5T_IEEE_F64LE, &value, subject);
}

void write_text(const Handle& object, const std::string& name, std::string_view text, const std::string& subject) {
  const std::string value(text);
  const char* const data = value.c_str();
  const auto type = string_type();
  write_attribute(object, name, type.get(), &data, subject);
}

}  // namespace lockstep::hdf5
