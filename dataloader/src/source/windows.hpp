// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lockstep/dataloader/source_options.hpp"
#include "source/record_dataset.hpp"

namespace lockstep {

// Consecutive frames of logs as one sample.
class WindowedDataset final : public Dataset {
 public:
  // `logs`: the frames of each, in order, together all records. Throws UsageError for windows that make no sense.
  WindowedDataset(std::shared_ptr<const RecordDataset> frames, const Windows& windows,
                  std::span<const std::int64_t> logs);

  [[nodiscard]] std::int64_t samples() const noexcept override { return ends_.empty() ? 0 : ends_.back(); }
  [[nodiscard]] std::string fingerprint() const override;
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return fields_; }
  void read(const SampleKey& key, SampleSlot& slot) const override;
  void prefetch(std::int64_t sample) const override { frames_->prefetch(first_frame(sample)); }
  [[nodiscard]] std::string describe(std::int64_t sample) const override;

  [[nodiscard]] std::int64_t first_frame(std::int64_t sample) const;

 private:
  void deliver_rows(const std::vector<SampleSlot::Rows>& rows, SampleSlot& slot) const;

  const std::shared_ptr<const RecordDataset> frames_;
  const Windows windows_;
  std::vector<std::int64_t> first_frames_;  // of each log that has a window
  std::vector<std::int64_t> ends_;          // of each of these: one past its last window
  std::vector<FieldInfo> fields_;           // the frame's, then the rows of its ragged ones
};

}  // namespace lockstep
