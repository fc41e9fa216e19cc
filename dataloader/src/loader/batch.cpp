// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/batch.hpp"

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lockstep/base/error.hpp"

namespace lockstep {

const Column& Batch::column(std::string_view name) const {
  const auto found = std::ranges::find(columns, name, &Column::name);
  if (found != columns.end()) return *found;
  std::vector<std::string_view> names;
  for (const auto& column : columns) names.emplace_back(column.name);
  throw UsageError({.what = fmt::format("field \"{}\" of a batch", name),
                    .why = fmt::format("it has [{}]", fmt::join(names, ", ")),
                    .fix = "use one of these, or let the source deliver it"});
}

at::Tensor padded(const Column& column, double value) {
  if (!column.offsets.defined()) return column.values;
  const auto* offsets = column.offsets.const_data_ptr<std::int64_t>();
  const std::int64_t samples = column.offsets.numel() - 1;
  std::vector<std::int64_t> shape = column.values.sizes().vec();
  shape[0] = 0;
  for (std::int64_t i = 0; i < samples; ++i) shape[0] = std::max(shape[0], offsets[i + 1] - offsets[i]);
  shape.insert(shape.begin(), samples);
  at::Tensor dense = at::full(shape, value, column.values.options());
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::int64_t rows = offsets[i + 1] - offsets[i];
    dense[i].narrow(0, 0, rows).copy_(column.values.narrow(0, offsets[i], rows));
  }
  return dense;
}

}  // namespace lockstep
