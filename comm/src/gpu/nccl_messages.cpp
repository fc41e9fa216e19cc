// SPDX-License-Identifier: Apache-2.0
#include "nccl_messages.hpp"

#include <algorithm>
#include <utility>

#include "../moves.hpp"

namespace lockstep::comm::gpu {

struct NcclMessages::Message {
  Call call{};
  Transfer transfer{};
  std::string label{};
  std::chrono::milliseconds timeout{};
  bool captured = false;
  std::shared_ptr<EventHandle> done{};  // null: not queued yet
  std::uint64_t number = 0, serial = 0;
};

class NcclMessages::MessageOperation final : public Operation {
 public:
  MessageOperation(NcclMessages& messages, std::shared_ptr<Message> message)
      : messages_(messages), message_(std::move(message)) {}
  Advanced advance(Clock::time_point slice_end) override {
    messages_.flush();
    if (!message_->done) return Advanced::not_yet;
    const auto on_device = [&] {
      return messages_.lane_.is_done(message_->serial, message_->number, message_->done.get(), slice_end);
    };
    return (message_->captured ? joined_ : on_device()) ? Advanced::fully : Advanced::not_yet;
  }
  [[nodiscard]] bool join_stream() override {
    messages_.lane_.watched().throw_if_failed();
    messages_.flush();
    if (!message_->done) return false;  // to this rank itself, which has not called the other half
    messages_.lane_.join_caller(message_->done.get());
    joined_ = true;
    return true;
  }
  [[nodiscard]] std::vector<int> missing() const override { return {message_->call.root}; }

 private:
  NcclMessages& messages_;
  std::shared_ptr<Message> message_;
  bool joined_ = false;  // see NcclOperation
};

OperationPtr NcclMessages::start(const Request& request, bool captured) {
  lane_.begin(request);
  const Call& call = request.call;
  auto message = std::make_shared<Message>();
  message->call = call;
  message->label = request.label;
  message->timeout = request.timeout;
  message->captured = captured;
  const bool sends = call.kind == Kind::send;
  message->transfer = {call.kind, sends ? const_cast<std::byte*>(request.input) : request.output, call.elements,
                       call.dtype, call.root};
  if (call.root == lane_.rank()) {
    (sends ? own_sent_ : own_awaited_).push_back(message);
  } else {
    waiting_.push_back(message);
  }
  return OperationPtr(new MessageOperation(*this, std::move(message)));
}

void NcclMessages::finish(Message& message) {
  message.done = lane_.mark();
  message.number = lane_.number();
  message.serial = lane_.next_serial();
  if (!message.captured) lane_.watch(message.call, message.label, message.timeout, message.done);
}

void NcclMessages::match_own() {
  const std::size_t pairs = std::min(own_sent_.size(), own_awaited_.size());
  for (std::size_t i = 0; i < pairs; ++i) {
    Message& sent = *own_sent_[i];
    Message& received = *own_awaited_[i];
    if (!agree(sent.call, received.call)) {
      throw BackendFailure{mismatch(lane_.rank(), sent.call, lane_.rank(), received.call)};
    }
    lane_.copy(received.transfer.memory, sent.transfer.memory,
               static_cast<std::size_t>(sent.call.elements) * size_of(sent.call.dtype));
    finish(sent);
    finish(received);
  }
  own_sent_.erase(own_sent_.begin(), own_sent_.begin() + static_cast<std::ptrdiff_t>(pairs));
  own_awaited_.erase(own_awaited_.begin(), own_awaited_.begin() + static_cast<std::ptrdiff_t>(pairs));
}

void NcclMessages::flush() {
  match_own();
  if (waiting_.empty()) return;
  const auto entered = lane_.watched().enter();
  const auto group = std::exchange(waiting_, {});
  std::vector<Transfer> transfers;
  auto timeout = group.front()->timeout;
  for (const auto& message : group) {
    transfers.push_back(message->transfer);
    timeout = std::max(timeout, message->timeout);
  }
  lane_.allow(group.front()->call, timeout);
  lane_.exchange(transfers);
  for (const auto& message : group) finish(*message);
}

}  // namespace lockstep::comm::gpu
