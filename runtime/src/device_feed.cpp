// SPDX-License-Identifier: Apache-2.0
#include "device_feed.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <bit>

namespace lockstep {
namespace {

constexpr std::size_t kSmallest = 512;  // bytes

}  // namespace

DeviceFeed::Mark::Mark(const c10::impl::VirtualGuardImpl& guard, at::Device device, const c10::Stream& stream)
    : guard_(guard), device_(device.index()) {
  guard_.record(&event_, stream, device_, c10::EventFlag::PYTORCH_DEFAULT);
}

DeviceFeed::Mark::~Mark() { guard_.destroyEvent(event_, device_); }
void DeviceFeed::Mark::let_wait(const c10::Stream& stream) const { guard_.block(event_, stream); }
bool DeviceFeed::Mark::reached() const { return guard_.queryEvent(event_); }

DeviceFeed::DeviceFeed(at::Device device, c10::impl::VirtualGuardImpl guard)
    : device_(device), guard_(guard), stream_(guard_.getStreamFromGlobalPool(device)) {}

std::shared_ptr<DeviceFeed::Mark> DeviceFeed::mark(const c10::Stream& stream) const {
  return std::make_shared<Mark>(guard_, device_, stream);
}

LoadedStep DeviceFeed::bring(LoadedStep step) {
  while (!sent_.empty() && sent_.front().read->reached()) sent_.pop_front();
  const c10::Stream computes = guard_.getStream(device_);
  const auto now = mark(computes);
  for (Slab& slab : slabs_) {
    if (!slab.free && slab.memory.storage().use_count() == 1) slab.free = now;
  }
  LoadedStep there = step;
  {
    const c10::StreamGuard beside(stream_);
    for (MicroBatch& micro_batch : there.micro_batches) {
      if (micro_batch.samples > 0) copy(micro_batch.batch, now);
    }
  }
  const auto read = mark(stream_);
  read->let_wait(computes);
  sent_.push_back({std::move(step), read});
  return there;
}

void DeviceFeed::copy(Batch& batch, const std::shared_ptr<Mark>& now) {
  for (Column& column : batch.columns) {
    at::Tensor there = take(column.values, now);
    column.values = there.copy_(column.values, /*non_blocking=*/true);
    if (column.name == "data") batch.data = column.values;
    if (column.name == "target") batch.target = column.values;
  }
}

// Memory that the step before last used, or an earlier one: waiting for what was let go of just now would be waiting
// for what the GPU computes now. Of one size class, so that a batch of another size finds memory again, too.
at::Tensor DeviceFeed::take(const at::Tensor& like, const std::shared_ptr<Mark>& now) {
  const auto bytes = static_cast<std::int64_t>(like.nbytes());
  const auto size = static_cast<std::int64_t>(std::bit_ceil(std::max(like.nbytes(), kSmallest)));
  auto slab =
      std::ranges::find_if(slabs_, [&](const Slab& s) { return s.free && s.free != now && s.memory.numel() == size; });
  if (slab == slabs_.end()) {
    slab = slabs_.insert(slab, {at::empty({size}, at::TensorOptions(at::kByte).device(device_)), now});
  }
  slab->free->let_wait(stream_);
  slab->free.reset();
  return slab->memory.narrow(0, 0, bytes).view(like.scalar_type()).view(like.sizes());
}

}  // namespace lockstep
