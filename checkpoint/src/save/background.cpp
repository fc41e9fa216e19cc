// SPDX-License-Identifier: Apache-2.0
#include "save/background.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <utility>

#include "lockstep/base/error.hpp"
#include "write/commit.hpp"

namespace lockstep {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);  // of the destructor

void retain(const RetentionPolicy& policy, const std::filesystem::path& folder, SaveOutcome& outcome) {
  try {
    outcome.removed = apply_retention(folder, policy, outcome.step);
  } catch (const Error& error) {
    outcome.warnings.push_back(fmt::format("older checkpoints were not removed: {}", error.what()));
  }
}

}  // namespace

SaveOutcome commit_and_retain(const std::filesystem::path& unfinished, Manifest manifest, const RetentionPolicy& policy,
                              KeptIndex& index) {
  SaveOutcome outcome{.step = manifest.step};
  try {
    outcome.path = commit(unfinished, std::move(manifest), index, outcome.warnings);
  } catch (const std::exception& error) {
    const auto* ours = dynamic_cast<const Error*>(&error);
    outcome.failure = ours == nullptr ? error.what() : fmt::format("{}: {}", ours->text().what, ours->text().why);
    discard(unfinished);
    return outcome;
  }
  retain(policy, outcome.path.parent_path(), outcome);
  return outcome;
}

void BackgroundCommit::start(std::packaged_task<SaveOutcome(KeptIndex&)> commit) {
  outcome_ = commit.get_future();
  thread_ = std::thread([commit = std::move(commit), index = index_]() mutable {
    ::pthread_setname_np(::pthread_self(), "lockstep-ckpt");
    commit(*index);
  });
}

bool BackgroundCommit::at_work() const {
  return outcome_.valid() && outcome_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

SaveOutcome BackgroundCommit::take() {
  SaveOutcome outcome = outcome_.get();
  thread_.join();
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
