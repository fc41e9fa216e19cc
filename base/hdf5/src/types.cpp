// SPDX-License-Identifier: Apache-2.0
#include "types.hpp"

#include <hdf5.h>

namespace lockstep::hdf5 {
namespace {

// A little-endian 16-bit float: sign in bit 15, then the exponent, then the mantissa down to bit 0.
Handle float_type(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  const char* const subject = "16-bit float type";
  Handle type(check(H5Tcopy(H5T_IEEE_F32LE), "H5Tcopy", subject), &H5Tclose);
  check(H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits), "H5Tset_fields", subject);
  check(H5Tset_size(type.get(), 2), "H5Tset_size", subject);
  check(H5Tset_ebias(type.get(), bias), "H5Tset_ebias", subject);
  return type;
}

}  // namespace

Handle type_of(DType dtype) {
  const auto copy = [](Id predefined) { return Handle(check(H5Tcopy(predefined), "H5Tcopy", "type"), &H5Tclose); };
  switch (dtype) {
    case DType::float64:
      return copy(H5T_IEEE_F64LE);
    case DType::float32:
      return copy(H5T_IEEE_F32LE);
    case DType::float16:
      return float_type(5, 10, 15);
    case DType::bfloat16:
      return float_type(8, 7, 127);
    case DType::int64:
      return copy(H5T_STD_I64LE);
    case DType::int32:
      return copy(H5T_STD_I32LE);
    case DType::int16:
      return copy(H5T_STD_I16LE);
    case DType::int8:
      return copy(H5T_STD_I8LE);
    case DType::uint8:
    case DType::boolean:
      return copy(H5T_STD_U8LE);
  }
  return {};
}

Handle string_type() {
  const char* const subject = "string type";
  Handle type(check(H5Tcopy(H5T_C_S1), "H5Tcopy", subject), &H5Tclose);
  check(H5Tset_size(type.get(), H5T_VARIABLE), "H5Tset_size", subject);
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset", subject);
  return type;
}

}  // namespace lockstep::hdf5
