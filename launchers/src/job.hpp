// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace lockstep::launchers {

struct JobEnd {
  int status = 0;       // the exit status, or 128 + signal, as a shell would report it
  int stop_signal = 0;  // the first signal that asked us to stop the job; 0: none
  bool killed = false;  // a second one came, and the job was ended without waiting for a checkpoint
  int rank = -1;        // whose status it is; -1: mpirun's, which does not tell
};

// Writes "lockstep: `line`" to standard error. A terminal that was closed, or a reader of the pipe that has ended, must
// not keep us from bringing the job to its end.
void say(const std::string& line) noexcept;

// What signals to us mean for the job: the first, that ranks save and stop; the second, that it ends without that;
// more, that it is killed. Tells the user, and `end`.
class StopRequests {
 public:
  enum class Means { save, end, kill };
  explicit StopRequests(JobEnd& end) : end_(end) {}
  Means add(int signal);

 private:
  JobEnd& end_;
  int count_ = 0;
};

// Runs `command` in a process group of its own, with standard input from /dev/null, and returns when it has ended.
// SIGINT, SIGTERM, SIGHUP or SIGUSR1 to us: the first asks the ranks to save and stop (SIGUSR1 to mpirun, which
// forwards it), the second ends the job, the third kills it. SIGUSR2 is passed on. Should we die, the job is ended too.
// Throws IoError if the command cannot be started.
JobEnd run_job(const std::vector<std::string>& command);

}  // namespace lockstep::launchers
