// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "commands.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::tool {
namespace {

// How many HDF5 files of about shard_bytes the samples fill, judged by the first one: their fields have a fixed shape.
int shards_for(const RecordReader& reader, std::uint64_t shard_bytes) {
  Record first;
  reader.read(0, first);
  std::uint64_t of_sample = 0;
  for (const auto& field : first.fields) of_sample += field.size();
  const auto in_shard = std::max<std::uint64_t>(1, shard_bytes / std::max<std::uint64_t>(1, of_sample));
  const auto samples = static_cast<std::uint64_t>(reader.samples());
  constexpr std::uint64_t kMost = 99'999;  // of five digits in a shard's name
  return static_cast<int>(std::min(kMost, (samples - 1) / in_shard + 1));
}

}  // namespace

int pack(const DataArguments& data, const PackArguments& arguments) {
  if (arguments.hdf5 && arguments.options.compression != Compression::none) {
    throw UsageError({.what = "pack --to hdf5",
                      .why = "its shards are mapped into memory, so they are not compressed",
                      .fix = "leave --compress out, or pack --to tar"});
  }
  const auto input = open_input(data);
  PackedCounts counts;
  {
    TerminalProgress progress("pack");
    counts = arguments.hdf5 ? pack_hdf5(*input.reader, arguments.folder,
                                        shards_for(*input.reader, arguments.options.shard_bytes), &progress)
                            : pack_tar(*input.reader, arguments.folder, arguments.options, &progress);
  }
  fmt::print("{}: {} samples in {} shards, {}\n", arguments.folder, count_text(counts.samples),
             count_text(counts.shards), bytes_text(static_cast<double>(counts.bytes)));
  return 0;
}

}  // namespace lockstep::tool
