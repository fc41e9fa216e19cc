// SPDX-License-Identifier: Apache-2.0
// For tests in Python: what lockstep reads and writes.
//   records_program read FOLDER                 a JSON object a sample: {"describe": …, "fields": {name: hex digits}}
//   records_program pack FROM TO                the samples of FROM as tar shards
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/records.hpp"

namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string digits;
  for (const auto byte : bytes) {
    for (const auto half : {byte >> 4, byte & std::byte{15}}) digits += "0123456789abcdef"[std::to_integer<int>(half)];
  }
  return digits;
}

void print(const lockstep::RecordReader& reader) {
  lockstep::Record record;
  for (std::int64_t sample = 0; sample < reader.samples(); ++sample) {
    reader.read(sample, record);
    auto fields = nlohmann::json::object();
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      if (record.fields[i].data() != nullptr) fields[reader.fields()[i].name] = hex(record.fields[i]);
    }
    std::puts(nlohmann::json{{"describe", reader.describe(sample)}, {"fields", fields}}.dump().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string_view command = argc > 2 ? argv[1] : "";
    if (command == "read" && argc == 3) {
      print(*lockstep::open_records(lockstep::open_store(argv[2])));
    } else if (command == "pack" && argc == 4) {
      lockstep::pack_tar(*lockstep::open_records(lockstep::open_store(argv[2])), argv[3], {.shard_samples = 3});
    } else {
      std::fputs("usage: records_program read FOLDER | pack FROM TO\n", stderr);
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
