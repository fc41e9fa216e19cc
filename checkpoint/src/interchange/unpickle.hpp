// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// A tensor as data.pkl describes it: nothing of it was compared with the storage yet.
struct PickledTensor {
  std::string name;  // keys of nested dictionaries are joined by '/'
  DType dtype = DType::float32;
  std::string_view storage;           // the entry data/<storage>
  std::int64_t storage_elements = 0;  // never negative
  std::int64_t offset = 0;            // in elements
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // in elements; as many as dimensions
};

// Reads a pickle by the opcodes and names that torch.load(weights_only=True) accepts, and believes nothing but
// dictionaries and tensors: a name such as os.system is refused where it stands, and nothing is ever called. Numbers,
// texts and lists beside the tensors are left out. Pure; takes time and memory in proportion to `pickle`. The texts of
// the result lie in `pickle`. Throws DataError.
[[nodiscard]] std::vector<PickledTensor> unpickle_tensors(std::span<const std::byte> pickle);

// The class of a storage in the module torch, and what its elements are.
inline constexpr std::array<std::pair<std::string_view, DType>, 10> kTorchStorages{
    {{"DoubleStorage", DType::float64},
     {"FloatStorage", DType::float32},
     {"HalfStorage", DType::float16},
     {"BFloat16Storage", DType::bfloat16},
     {"LongStorage", DType::int64},
     {"IntStorage", DType::int32},
     {"ShortStorage", DType::int16},
     {"CharStorage", DType::int8},
     {"ByteStorage", DType::uint8},
     {"BoolStorage", DType::boolean}}};

}  // namespace lockstep
