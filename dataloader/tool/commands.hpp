// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "input.hpp"

namespace lockstep::tool {

// Each command prints to standard output and returns the exit code. They throw lockstep::Error.

// Format, counts, fields, and the first sample's values.
int inspect(const DataArguments& data, bool json);

// Reads every sample; 1 if some are damaged.
int verify_data(const DataArguments& data, bool json);

struct PackArguments {
  std::string folder;
  bool hdf5 = false;
  PackOptions options{.shard_bytes = 256ULL << 20};
};
int pack(const DataArguments& data, const PackArguments& arguments);

struct BenchArguments {
  int threads = 1;
  std::int64_t batch = 64;
};
// How fast samples are found and read, decoded, and delivered in batches, on this machine.
int bench(const DataArguments& data, const BenchArguments& arguments);

// One file with a contact sheet of the samples and counts of labels and sources.
int plot(const std::vector<DataArguments>& data, const std::string& output);

}  // namespace lockstep::tool
