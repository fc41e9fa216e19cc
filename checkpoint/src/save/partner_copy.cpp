// SPDX-License-Identifier: Apache-2.0
#include "save/partner_copy.hpp"

#include <algorithm>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kPieceBytes = 64 << 20;  // so that a slow network is seen to move

template <class Begin>
void for_pieces(std::span<std::byte> bytes, const Begin& begin) {
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPieceBytes, bytes.size()))) {
    begin({bytes.data(), static_cast<std::int64_t>(std::min(kPieceBytes, bytes.size())), DType::uint8});
  }
}

}  // namespace

void PieceMessages::send(Communicator& world, int to, std::span<std::byte> bytes, const std::shared_ptr<void>& owner) {
  for_pieces(bytes, [&](Buffer piece) {
    works_.push_back(world.send(piece, to, {.label = "a checkpoint's partner copy"}));
    works_.back().keep_alive(owner);
  });
}

void PieceMessages::receive(Communicator& world, int from, std::span<std::byte> bytes,
                            const std::shared_ptr<void>& owner) {
  for_pieces(bytes, [&](Buffer piece) {
    works_.push_back(world.receive(piece, from, {.label = "a checkpoint's partner copy"}));
    works_.back().keep_alive(owner);
  });
}

bool PieceMessages::done() {
  while (!works_.empty() && works_.front().done()) works_.pop_front();
  return works_.empty();
}

void PartnerCopy::reserve(std::uint64_t bytes) {
  if (!messages_.done() || !written()) {
    throw IoError({.what = "begin a checkpoint",
                   .why = "the partner's copy of an earlier one is still being received or written",
                   .fix = {}});
  }
  try {
    if (file_at_work_) static_cast<void>(take());
  } catch (const IoError&) {  // told when its save failed
  }
  image_ = memory_->reserve(bytes).first(bytes);
}

void PartnerCopy::begin(Communicator& world, std::filesystem::path file) {
  file_ = std::move(file);
  messages_.receive(world, origin_, image_, memory_);
}

void PartnerCopy::advance() {
  if (!messages_.done() || file_.empty()) return;
  writer_.start({.path = std::exchange(file_, {}), .image = image_, .read_back = true});
  file_at_work_ = true;
}

FileRecord PartnerCopy::take() {
  file_at_work_ = false;
  return writer_.take().file;
}

}  // namespace lockstep
