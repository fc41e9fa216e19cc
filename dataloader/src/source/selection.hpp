// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {

// The value of every record as JSON writes it: 7, "rain" without the quotes. Reads all of them.
// Throws UsageError naming source and field, DataError naming the record that does not have it.
[[nodiscard]] std::vector<std::string> values_of(const std::string& source, const RecordReader& records,
                                                 const ValueAt& at);

// Some samples of a data set.
class SelectedDataset final : public Dataset {
 public:
  SelectedDataset(std::shared_ptr<const Dataset> whole, std::vector<std::int64_t> samples);

  [[nodiscard]] std::int64_t samples() const noexcept override { return std::ssize(samples_); }
  [[nodiscard]] std::string fingerprint() const override;
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return whole_->fields(); }
  void read(const SampleKey& key, SampleSlot& slot) const override;
  void prefetch(std::int64_t sample) const override { whole_->prefetch(samples_[static_cast<std::size_t>(sample)]); }
  [[nodiscard]] std::string describe(std::int64_t sample) const override;

 private:
  const std::shared_ptr<const Dataset> whole_;
  const std::vector<std::int64_t> samples_;
};

// Where the records are that decide about samples: of a window, its first frame.
class RecordOf {
 public:
  virtual ~RecordOf() = default;
  [[nodiscard]] virtual std::int64_t operator()(std::int64_t sample) const { return sample; }
};

// The samples that are selected, ascending; all of them where nothing is asked for. `samples`: of the data set.
[[nodiscard]] std::vector<std::int64_t> select_samples(const SourceOptions& options, const RecordReader& records,
                                                       std::int64_t samples, const RecordOf& record_of);

}  // namespace lockstep
