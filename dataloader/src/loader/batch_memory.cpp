// SPDX-License-Identifier: Apache-2.0
#include "loader/batch_memory.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include <cassert>
#include <string>
#include <utility>

namespace lockstep {
namespace {

[[maybe_unused]] constexpr std::uintptr_t kAlignment = 64;  // of batches: kernels may change bits with alignment

}  // namespace

at::Tensor empty_tensor(const FieldInfo& field, std::vector<std::int64_t> shape, bool pinned) {
  const auto first = static_cast<std::ptrdiff_t>(field.ragged() ? 1 : 0);
  shape.insert(shape.end(), field.shape.begin() + first, field.shape.end());
  const auto dtype = c10::getStringToDtypeMap().at(std::string(name_of(field.dtype)));
  at::Tensor tensor = at::empty(shape, at::TensorOptions(dtype).pinned_memory(pinned));
  assert(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0);
  return tensor;
}

BatchMemory::BatchMemory(const std::vector<FieldInfo>& fields, std::int64_t capacity, std::size_t spare, bool pinned)
    : fields_(fields), capacity_(capacity), spare_(spare), pinned_(pinned), kept_(fields.size()) {}

at::Tensor BatchMemory::take(std::size_t field, std::int64_t samples) {
  auto& kept = kept_[field];
  for (const at::Tensor& tensor : kept) {
    if (tensor.storage().use_count() == 1) return tensor.narrow(0, 0, samples);
  }
  at::Tensor fresh = empty_tensor(fields_[field], {capacity_}, pinned_);
  if (kept.size() < spare_) kept.push_back(fresh);
  return fresh.narrow(0, 0, samples);
}

}  // namespace lockstep
