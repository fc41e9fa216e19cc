// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/dataloader/decode.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/dataloader/transform.hpp"

namespace lockstep {

// Records, decoded and transformed.
class RecordDataset final : public Dataset {
 public:
  // `name`: of the source, for messages. `fields`: empty for all stored ones. Reads the first sample, to know shapes.
  RecordDataset(std::string name, std::shared_ptr<const RecordReader> records, const std::vector<FieldOptions>& fields,
                std::vector<std::shared_ptr<const Transform>> transforms);

  [[nodiscard]] std::int64_t samples() const noexcept override { return records_->samples(); }
  [[nodiscard]] std::string fingerprint() const override { return records_->fingerprint(); }
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return chain_->delivered(); }
  void read(const SampleKey& key, SampleSlot& slot) const override { read_record(key.sample, key, slot); }
  void prefetch(std::int64_t sample) const override { records_->prefetch(sample); }
  [[nodiscard]] std::string describe(std::int64_t sample) const override { return records_->describe(sample); }

  // Reads one record; what transforms draw depends on `key`.
  void read_record(std::int64_t record, const SampleKey& key, SampleSlot& slot) const;

 private:
  struct Field {
    std::size_t stored = 0;  // its place in a Record
    std::unique_ptr<const Decoder> decoder;
  };

  void decode(std::int64_t number, const Record& record, SampleSlot& slot) const;

  const std::string name_;
  const std::shared_ptr<const RecordReader> records_;
  std::vector<Field> fields_;
  std::unique_ptr<const TransformChain> chain_;
};

}  // namespace lockstep
