// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/monitor/progress.hpp"
#include "lockstep/monitor/text.hpp"

namespace lockstep::tool {

// A data set as the command line names it.
struct DataArguments {
  std::string location;  // a folder, one file of it, or a URL
  RecordOptions options{};
};

struct Input {
  std::shared_ptr<const BlobStore> store;
  RecordOptions options;  // as it was opened
  std::string format;
  std::unique_ptr<const RecordReader> reader;
};

// Throws as open_store and open_records do, and DataError for a data set without samples.
[[nodiscard]] Input open_input(const DataArguments& arguments);

// A bar on standard error where that is a terminal; nothing elsewhere.
class TerminalProgress final : public PackProgress {
 public:
  explicit TerminalProgress(const char* task);
  void update(std::int64_t done, std::int64_t samples) override;

 private:
  const char* task_;
  std::optional<monitor::Progress> bar_;
};

using monitor::bytes_text;
using monitor::count_text;

}  // namespace lockstep::tool
