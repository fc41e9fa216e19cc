// SPDX-License-Identifier: Apache-2.0
#include "local_message.hpp"

#include <cstring>

#include "../moves.hpp"

namespace lockstep::comm {

LocalTransfer::LocalTransfer(std::shared_ptr<LocalGroup> group, int rank, const Request& request)
    : group_(std::move(group)),
      rank_(rank),
      request_(request),
      bytes_(static_cast<std::size_t>(request.call.elements) * size_of(request.call.dtype)) {
  std::unique_lock lock(group_->domain->mutex);
  group_->domain->throw_if_failed(lock);
  enter();
  group_->domain->notify_locked();
}

void LocalTransfer::enter() {
  const Call& call = request_.call;
  const bool sends = call.kind == Kind::send;
  const int from = sends ? rank_ : call.root;
  const int to = sends ? call.root : rank_;
  const auto place = group_->messages.try_emplace({from, to, call.sequence}).first;
  if (!place->second) place->second = std::make_shared<LocalMessage>();
  message_ = place->second;
  (sends ? message_->sent : message_->received) = call;
  if (sends) {
    message_->data = request_.input;
    if (bytes_ <= kKeptBytes) {
      message_->left_behind.assign(request_.input, request_.input + bytes_);
      message_->data = message_->left_behind.data();
    }
  }
  if (!message_->sent || !message_->received) return;
  group_->messages.erase(place);
  if (!agree(*message_->sent, *message_->received))
    group_->domain->fail(mismatch(from, *message_->sent, to, *message_->received));
}

Advanced LocalTransfer::advance(std::chrono::steady_clock::time_point) {
  LocalDomain& domain = *group_->domain;
  const bool sends = request_.call.kind == Kind::send;
  std::unique_lock lock(domain.mutex);
  if (message_->taken || (sends && bytes_ <= kKeptBytes)) return Advanced::fully;
  domain.throw_if_failed(lock);
  if (sends || !message_->sent) return Advanced::not_yet;
  domain.work(lock, [&] {
    if (bytes_ > 0) std::memcpy(request_.output, message_->data, bytes_);
  });
  message_->taken = true;
  return Advanced::fully;
}

}  // namespace lockstep::comm
