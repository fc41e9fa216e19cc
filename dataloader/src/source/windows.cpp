// SPDX-License-Identifier: Apache-2.0
#include "source/windows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {

WindowedDataset::WindowedDataset(std::shared_ptr<const RecordDataset> frames, const Windows& windows,
                                 std::span<const std::int64_t> logs)
    : frames_(std::move(frames)), windows_(windows) {
  if (windows.length < 1 || windows.step < 1 || windows.stride < 1) {
    throw UsageError({.what = "windows of frames",
                      .why = fmt::format("length {}, step {} and stride {} are not all at least 1", windows.length,
                                         windows.step, windows.stride)});
  }
  std::int64_t first = 0;
  std::int64_t end = 0;
  for (const auto frames_of_log : logs) {
    const std::int64_t spanned = (windows.length - 1) * windows.step + 1;
    if (frames_of_log >= spanned) {
      first_frames_.push_back(first);
      ends_.push_back(end += (frames_of_log - spanned) / windows.stride + 1);
    }
    first += frames_of_log;
  }
  fields_ = frames_->fields();
  for (const auto& field : frames_->fields()) {
    auto& delivered = fields_[static_cast<std::size_t>(&field - frames_->fields().data())];
    if (!field.ragged()) {
      delivered.shape.insert(delivered.shape.begin(), windows.length);
    } else {
      fields_.push_back({.name = field.name + "_rows", .dtype = DType::int64, .shape = {windows.length}});
    }
  }
}

std::string WindowedDataset::fingerprint() const {
  return fmt::format("{}/windows-{}-{}-{}-{}", frames_->fingerprint(), windows_.length, windows_.step, windows_.stride,
                     samples());
}

std::int64_t WindowedDataset::first_frame(std::int64_t sample) const {
  const auto log = static_cast<std::size_t>(std::ranges::upper_bound(ends_, sample) - ends_.begin());
  return first_frames_[log] + (sample - (log == 0 ? 0 : ends_[log - 1])) * windows_.stride;
}

std::string WindowedDataset::describe(std::int64_t sample) const {
  return fmt::format("{} frames from {}", windows_.length, frames_->describe(first_frame(sample)));
}

void WindowedDataset::read(const SampleKey& key, SampleSlot& slot) const {
  const auto& frame_fields = frames_->fields();
  std::vector<SampleSlot::Rows> rows(frame_fields.size());
  std::vector<SampleSlot::Rows*> ragged(frame_fields.size(), nullptr);
  for (std::size_t f = 0; f < frame_fields.size(); ++f) {
    rows[f].row_bytes = frame_fields[f].row_bytes();
    if (frame_fields[f].ragged()) ragged[f] = &rows[f];
  }
  SampleSlot frame(std::vector<std::span<std::byte>>(frame_fields.size()), std::move(ragged));
  const std::int64_t first = first_frame(key.sample);
  for (std::int64_t i = 0; i < windows_.length; ++i) {
    for (std::size_t f = 0; f < frame_fields.size(); ++f) {
      const std::size_t bytes = frame_fields[f].row_bytes();
      if (!frame_fields[f].ragged())
        frame.move_to(f, slot.fixed(f).subspan(static_cast<std::size_t>(i) * bytes, bytes));
    }
    frames_->read_record(first + i * windows_.step, key, frame);
    frame.end_sample();
  }
  deliver_rows(rows, slot);
}

// Of each ragged field: its rows, and in the field behind the frame's fields how many each frame has.
void WindowedDataset::deliver_rows(const std::vector<SampleSlot::Rows>& rows, SampleSlot& slot) const {
  std::size_t counts_field = rows.size();
  for (std::size_t f = 0; f < rows.size(); ++f) {
    if (!fields_[f].ragged()) continue;
    const auto place = slot.ragged(f, rows[f].ends.back());
    if (!place.empty()) std::memcpy(place.data(), rows[f].bytes.data(), place.size());
    std::vector<std::int64_t> counts;
    for (const auto end : rows[f].ends) counts.push_back(end);
    for (std::size_t i = counts.size() - 1; i > 0; --i) counts[i] -= counts[i - 1];
    std::memcpy(slot.fixed(counts_field++).data(), counts.data(), counts.size() * sizeof(counts[0]));
  }
}

}  // namespace lockstep
