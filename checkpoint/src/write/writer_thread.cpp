// SPDX-License-Identifier: Apache-2.0
#include "write/writer_thread.hpp"

#include <linux/ioprio.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

namespace lockstep {

void become_writer() noexcept {
  ::pthread_setname_np(::pthread_self(), "lockstep-ckpt");
  sigset_t file_too_large;
  ::sigemptyset(&file_too_large);
  ::sigaddset(&file_too_large, SIGXFSZ);
  ::pthread_sigmask(SIG_BLOCK, &file_too_large, nullptr);
}

void give_way_to_training() noexcept {
  const long thread = ::syscall(SYS_gettid);
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(thread), 19);
  ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
}

}  // namespace lockstep
