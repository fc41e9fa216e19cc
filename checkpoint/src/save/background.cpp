// SPDX-License-Identifier: Apache-2.0
#include "save/background.hpp"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "failure.hpp"
#include "write/commit.hpp"
#include "write/writer_thread.hpp"

namespace lockstep {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);  // of the destructor

}  // namespace

SaveOutcome retain(const std::filesystem::path& folder, const RetentionPolicy& policy, std::int64_t step) {
  SaveOutcome outcome{.step = step};
  try {
    outcome.removed = apply_retention(folder, policy, step);
  } catch (const std::exception& error) {
    outcome.warnings.push_back(fmt::format("older checkpoints were not removed: {}", error.what()));
  }
  return outcome;
}

SaveOutcome commit_on_root(const std::filesystem::path& unfinished, Manifest manifest, KeptIndex& index) {
  SaveOutcome outcome{.step = manifest.step};
  try {
    outcome.path = commit(unfinished, std::move(manifest), index, outcome.warnings);
  } catch (const std::exception& error) {
    outcome.failure = failure_text(error);
    discard(unfinished);
  }
  return outcome;
}

void BackgroundCommit::start(std::packaged_task<SaveOutcome(KeptIndex&)> commit) {
  outcome_ = commit.get_future();
  const auto task = std::make_shared<std::packaged_task<SaveOutcome(KeptIndex&)>>(std::move(commit));
  try {
    thread_ = std::thread([task, index = index_] {
      become_writer();
      (*task)(*index);
    });
  } catch (const std::system_error&) {  // no more threads for this user: then training waits
    (*task)(*index_);
  }
}

bool BackgroundCommit::at_work() const {
  return outcome_.valid() && outcome_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

SaveOutcome BackgroundCommit::take() {
  SaveOutcome outcome = outcome_.get();
  if (thread_.joinable()) thread_.join();
  return outcome;
}

bool BackgroundCommit::idle() {
  if (at_work()) return false;
  if (outcome_.valid()) static_cast<void>(take());
  return true;
}

BackgroundCommit::~BackgroundCommit() {
  if (!thread_.joinable()) return;
  if (outcome_.valid() && outcome_.wait_for(kPatience) != std::future_status::ready) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

}  // namespace lockstep
