// SPDX-License-Identifier: Apache-2.0
#include "write/file_writer.hpp"

#include <cassert>
#include <system_error>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"
#include "write/file_work.hpp"
#include "write/writer_thread.hpp"

namespace lockstep {
struct FileWriter::Impl {
  // Shared with the thread, which may be left behind.
  std::shared_ptr<StagingMemory> buffer = std::make_shared<StagingMemory>();
  std::shared_ptr<FileWork> work{};  // none: nothing is at work
  std::thread thread{};
  std::thread hurried{};

  void join() {
    thread.join();
    if (hurried.joinable()) hurried.join();
  }
  void detach() {
    thread.detach();
    if (hurried.joinable()) hurried.detach();
  }
};

FileWriter::FileWriter() : impl_(std::make_unique<Impl>()) {}

FileWriter::~FileWriter() {
  if (!impl_->work) return;
  impl_->work->give_up() ? impl_->join() : impl_->detach();
}

void FileWriter::start(WriteJob job) {
  assert(!impl_->work);
  auto work = std::make_shared<FileWork>(std::move(job), impl_->buffer);
  try {
    impl_->thread = std::thread([work] {
      become_writer();
      give_way_to_training();
      work->run();
    });
  } catch (const std::system_error& error) {
    throw IoError({.what = "start a thread to write a checkpoint",
                   .why = error.what(),
                   .fix = "raise the limit on this user's processes (ulimit -u)"});
  }
  impl_->work = std::move(work);
}

void FileWriter::wait_until_copied() {
  if (impl_->work) impl_->work->wait_until_copied();
}

bool FileWriter::copied() const noexcept { return !impl_->work || impl_->work->copied(); }

void FileWriter::hurry() {
  if (!impl_->work || !impl_->work->hurry()) return;
  if (impl_->hurried.joinable()) impl_->hurried.join();  // that of the last time has left
  try {
    impl_->hurried = std::thread([work = impl_->work] {
      become_writer();
      work->join_in();
    });
  } catch (const std::system_error&) {  // no more threads for this user: then it takes longer
    impl_->work->leave();
  }
}

void FileWriter::relax() {
  if (impl_->work) impl_->work->relax();
}

bool FileWriter::done() const noexcept { return impl_->work && impl_->work->done(); }

std::uint64_t FileWriter::bytes_done() const noexcept { return impl_->work ? impl_->work->bytes_done() : 0; }

WrittenFile FileWriter::take() {
  assert(impl_->work);
  wait_until_copied();
  hurry();
  impl_->join();
  return std::exchange(impl_->work, nullptr)->result();
}

}  // namespace lockstep
