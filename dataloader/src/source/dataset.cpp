// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/dataset.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "formats/shard_index.hpp"
#include "lockstep/base/error.hpp"
#include "source/record_dataset.hpp"

namespace lockstep {
namespace {

const std::vector<std::string> kFields{"data", "target"};

void check_fields(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::ranges::transform(read_index(folder).fields, std::back_inserter(names), &FieldSchema::name);
  std::ranges::sort(names);
  if (names == kFields) return;
  throw DataError(
      {.what = fmt::format("data set {}", folder.string()),
       .why = fmt::format("its fields are [{}], not [{}]", fmt::join(names, ", "), fmt::join(kFields, ", ")),
       .fix = "pack it with these two fields, or open it with open_sources"});
}

}  // namespace

std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& folder) {
  check_fields(folder);
  std::shared_ptr<const RecordReader> records =
      open_records(open_store(folder.string()), {.format = "lockstep", .fields = kFields});
  return std::make_shared<RecordDataset>("", std::move(records), std::vector<FieldOptions>{},
                                         std::vector<std::shared_ptr<const Transform>>{});
}

}  // namespace lockstep
