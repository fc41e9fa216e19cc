// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.hpp"

namespace lockstep::tool {
namespace {

constexpr int kDamaged = 1;  // the exit code; 2 and above mean that the data set could not be judged

void print_text(const RecordReader& reader, const VerifyReport& report) {
  for (const auto& record : report.first) {
    fmt::print("damaged: sample {} ({}): {}\n", record.sample, record.description, record.why);
  }
  if (const auto more = report.damaged - static_cast<std::int64_t>(report.first.size()); more > 0) {
    fmt::print("… and {} more\n", count_text(more));
  }
  fmt::print("{} samples, {} read, {} damaged{}\n", count_text(report.samples),
             bytes_text(static_cast<double>(report.bytes)), count_text(report.damaged),
             reader.checksummed() ? "" : "; there are no checksums to compare, only the form was checked");
}

void print_json(const RecordReader& reader, const VerifyReport& report) {
  nlohmann::ordered_json damaged = nlohmann::json::array();
  for (const auto& record : report.first) {
    damaged.push_back({{"sample", record.sample}, {"description", record.description}, {"why", record.why}});
  }
  const nlohmann::ordered_json found{{"samples", report.samples},
                                     {"bytes", report.bytes},
                                     {"damaged", report.damaged},
                                     {"checksummed", reader.checksummed()},
                                     {"first", damaged}};
  fmt::print("{}\n", found.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

int verify_data(const DataArguments& data, bool json) {
  const auto input = open_input(data);
  VerifyReport report;
  {
    TerminalProgress progress("verify");
    report = verify(*input.reader, &progress);
  }
  (json ? print_json : print_text)(*input.reader, report);
  return report.damaged == 0 ? 0 : kDamaged;
}

}  // namespace lockstep::tool
