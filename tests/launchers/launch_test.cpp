// SPDX-License-Identifier: Apache-2.0
// The `lockstep` command with shell scripts as programs: with a real mpirun, and without MPI.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// What a rank's script may use: record CODE CAUSE DIED_RANK leaves an exit record as the runtime does.
constexpr const char* kPrelude = R"(
rank=${OMPI_COMM_WORLD_RANK:-$RANK}
record() {
  printf '{"rank": %d, "world_size": 2, "host": "n07", "pid": 1, "code": %d, "cause": "%s", "died_rank": %d,
    "time_nanoseconds": 5}' "$rank" "$1" "$2" "$3" > "$LOCKSTEP_EXIT_DIR/exit-$rank.json"
}
wait_for_a_signal() { touch "$TMPDIR/ready-$rank"; while :; do sleep 0.02; done; }
)";

struct Result {
  int status = -1;
  std::string output{};  // standard output and standard error
};

// Runs `lockstep` in a temporary folder of its own, which is also its TMPDIR.
class Launch : public ::testing::Test {
 protected:
  Launch() {
    std::string name = ::testing::TempDir() + "/lockstep-launch-XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~Launch() override { fs::remove_all(folder_); }

  // `lockstep` with `arguments`, started but not waited for.
  pid_t start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), LOCKSTEP_COMMAND);
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child != 0) return child;
    const int file = open((folder_ / "output").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    setenv("TMPDIR", folder_.c_str(), 1);
    execv(argv[0], argv.data());
    _exit(127);
  }

  Result finish(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(folder_ / "output")};
  }

  Result run(std::vector<std::string> arguments) { return finish(start(std::move(arguments))); }

  virtual std::vector<std::string> script(const std::string& body) const {
    return {"run", "-n", "2", "sh", "-c", kPrelude + body};
  }

  void wait_until_ready() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!fs::exists(folder_ / "ready-0") || !fs::exists(folder_ / "ready-1")) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the ranks did not start";
      std::this_thread::yield();
    }
  }

  // The process whose number is in the file `name`.
  void wait_until_gone(const std::string& name) const {
    const fs::path process = "/proc/" + std::to_string(std::stoi(read_file(folder_ / name)));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    // Nobody may be there to take a dead one from the table: it has no command line then.
    while (fs::exists(process) && !read_file(process / "cmdline").empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << process << " is still there";
      std::this_thread::yield();
    }
  }

  // Names of the exit-record folders that are still there.
  [[nodiscard]] std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename().string().starts_with("lockstep-run-")) names.push_back(entry.path().string());
    }
    return names;
  }

  fs::path folder_;
};

// What holds for every way to start ranks; the parameter is whether mpirun does.
class LaunchBothWays : public Launch, public ::testing::WithParamInterface<bool> {
 protected:
  [[nodiscard]] std::vector<std::string> script(const std::string& body) const override {
    auto arguments = Launch::script(body);
    if (!GetParam()) arguments.insert(arguments.begin() + 1, "--no-mpi");
    return arguments;
  }
};

INSTANTIATE_TEST_SUITE_P(Ways, LaunchBothWays,
                         ::testing::ValuesIn(LOCKSTEP_WITH_MPI ? std::vector{true, false} : std::vector{false}),
                         [](const auto& instance) { return instance.param ? "with_mpirun" : "without_mpi"; });

class LaunchWithoutMpi : public Launch {
 protected:
  [[nodiscard]] std::vector<std::string> script(const std::string& body) const override {
    auto arguments = Launch::script(body);
    arguments.insert(arguments.begin() + 1, "--no-mpi");
    return arguments;
  }
};

TEST_F(Launch, passes_on_all_that_follows_the_program) {
  const auto result = run({"run", "--dry-run", "-n", "1", "sh", "--dry-run", "-n", "9", "--", "info", "a b"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, EndsWith(" sh --dry-run -n 9 -- info 'a b'\n"));
}

TEST_P(LaunchBothWays, succeeds_quietly_and_removes_its_temporary_folder) {
  const auto result =
      run(script("echo rank $rank of ${OMPI_COMM_WORLD_SIZE:-$WORLD_SIZE}; cat"));  // cat: standard input is empty
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, HasSubstr("rank 1 of 2\n"));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_P(LaunchBothWays, ends_with_the_first_cause_and_its_code) {
  const auto result = run(script("[ $rank = 0 ] || { record 74 '[rank 1/2 n07] disk full' -1; exit 74; }; sleep 9"));
  EXPECT_EQ(result.status, 74);
  EXPECT_THAT(result.output, EndsWith("lockstep: first cause: rank 1 (n07): disk full\n"));
  EXPECT_THAT(result.output, Not(HasSubstr("mpirun detected"))) << "Open MPI's own text buries ours";
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_P(LaunchBothWays, names_a_killed_rank_and_returns_its_signal) {
  const auto result =
      run(script("[ $rank = 0 ] && record 1 'peer died' 1 && exec sleep 9; exec 2>&-; "
                 "until [ -e $LOCKSTEP_EXIT_DIR/exit-0.json ]; do sleep 0.02; done; kill -KILL $$"));
  EXPECT_EQ(result.status, 137);
  EXPECT_THAT(result.output, HasSubstr("\nlockstep: rank 1 was killed by signal 9 (Killed)"));
}

TEST_P(LaunchBothWays, the_first_signal_lets_the_ranks_save) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const pid_t child = start(script("trap 'record 75 \"\" -1; exit 75' USR1; wait_for_a_signal"));
    wait_until_ready();
    kill(child, signal);
    const auto result = finish(child);
    EXPECT_EQ(result.status, 75) << result.output;
    EXPECT_THAT(result.output, EndsWith("lockstep: saved; start it again to go on\n"));
    fs::remove(folder_ / "ready-0");
    fs::remove(folder_ / "ready-1");
  }
}

TEST_P(LaunchBothWays, the_second_signal_ends_ranks_that_do_not_stop) {
  const pid_t child = start(script("trap 'touch $TMPDIR/asked-$rank' USR1; wait_for_a_signal"));
  wait_until_ready();
  kill(child, SIGINT);
  while (!fs::exists(folder_ / "asked-0")) std::this_thread::yield();
  kill(child, SIGINT);
  EXPECT_EQ(finish(child).status, 130);
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_P(LaunchBothWays, sigusr2_is_passed_on_and_is_no_request_to_stop) {
  const pid_t child = start(script("trap 'exit 0' USR2; wait_for_a_signal"));
  wait_until_ready();
  kill(child, SIGUSR2);
  const auto result = finish(child);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, Not(HasSubstr("stopping the job")));
}

TEST_F(Launch, refuses_bad_input_with_status_2_before_anything_starts) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"run"}, "no program was named"},
      {{"run", "-n", "0", "true"}, "at least one rank"},
      {{"run", "-n", "-3", "true"}, "at least one rank"},
      {{"run", "-n", "many", "true"}, "many"},
      {{"run", "--bogus", "true"}, "--bogus"},
      {{"run", "./no/such/program"}, "./no/such/program"},
      {{"run", "no-such-program"}, "not on PATH"},
      {{"run", "/etc/passwd"}, "not an executable"},
      {{"rum", "true"}, "lockstep run"},
  };
  for (const auto& [arguments, text] : cases) {
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
    EXPECT_THAT(result.output, Not(HasSubstr("mpirun -q")));
  }
}

TEST_F(Launch, info_lists_versions_and_environment_variables) {
  const auto result = run({"info"});
  EXPECT_EQ(result.status, 0);
  for (const auto* text :
       {"LibTorch", LOCKSTEP_WITH_MPI ? "Open MPI" : "LOCKSTEP_MPI=OFF", "HDF5", "LOCKSTEP_EXIT_DIR", "cores"}) {
    EXPECT_THAT(result.output, HasSubstr(text));
  }
}

TEST_F(LaunchWithoutMpi, ranks_know_their_place) {
  setenv("OMPI_COMM_WORLD_SIZE", "7", 1);  // of a job around this one
  const auto result = run(script("echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE${OMPI_COMM_WORLD_SIZE+ mpi}"));
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_THAT(result.output, AllOf(HasSubstr("0/2 0/2\n"), HasSubstr("1/2 1/2\n")));
}

TEST_F(LaunchWithoutMpi, names_the_rank_that_left_no_record) {
  const auto result = run(script("[ $rank = 1 ] && exit 9; sleep 60"));
  EXPECT_EQ(result.status, 9);
  EXPECT_THAT(result.output, HasSubstr("lockstep: rank 1 ended with status 9 and left no record of why"));
}

TEST_F(LaunchWithoutMpi, a_victim_that_leaves_first_is_not_the_cause) {
  const auto result =
      run(script("[ $rank = 1 ] && echo $$ >$TMPDIR/pid && exit 1; "
                 "while [ ! -s $TMPDIR/pid ] || [ -e /proc/$(cat $TMPDIR/pid) ]; do sleep 0.02; done; exit 9"));
  EXPECT_EQ(result.status, 9);
  EXPECT_THAT(result.output, HasSubstr("rank 0 ended with status 9"));
}

TEST_F(LaunchWithoutMpi, kills_a_rank_that_does_not_end_after_the_failure_of_another) {
  const auto result = run(script("[ $rank = 1 ] && exit 9; trap '' TERM; while :; do sleep 0.1; done"));
  EXPECT_EQ(result.status, 9);
}

TEST_F(LaunchWithoutMpi, ends_what_a_failed_rank_had_started) {
  EXPECT_EQ(run(script("sleep 600 & echo $! >$TMPDIR/child-$rank; exit 3")).status, 3);
  for (const auto* name : {"child-0", "child-1"}) wait_until_gone(name);
}

TEST_F(LaunchWithoutMpi, the_ranks_end_with_a_killed_launcher) {
  const pid_t child = start(script("echo $$ >$TMPDIR/pid-$rank; wait_for_a_signal"));
  wait_until_ready();
  kill(child, SIGKILL);
  finish(child);
  for (const auto* name : {"pid-0", "pid-1"}) wait_until_gone(name);
}

}  // namespace
}  // namespace lockstep
