// SPDX-License-Identifier: Apache-2.0
// The `lockstep` command with a real mpirun and shell scripts as programs.
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
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// What a rank's script may use: record CODE CAUSE DIED_RANK leaves an exit record as the runtime does.
constexpr const char* kPrelude = R"(
rank=$OMPI_COMM_WORLD_RANK
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

  static std::vector<std::string> script(const std::string& body) {
    return {"run", "-n", "2", "sh", "-c", kPrelude + body};
  }

  void wait_until_ready() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!fs::exists(folder_ / "ready-0") || !fs::exists(folder_ / "ready-1")) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the ranks did not start";
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

TEST_F(Launch, passes_on_all_that_follows_the_program) {
  const auto result = run({"run", "--dry-run", "-n", "1", "sh", "--dry-run", "-n", "9", "--", "info", "a b"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, EndsWith(" sh --dry-run -n 9 -- info 'a b'\n"));
}

TEST_F(Launch, succeeds_quietly_and_removes_its_temporary_folder) {
  const auto result = run(script("echo rank $rank of $OMPI_COMM_WORLD_SIZE; cat"));  // cat: standard input is empty
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, HasSubstr("rank 1 of 2\n"));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(Launch, ends_with_the_first_cause_and_its_code) {
  const auto result = run(script("[ $rank = 0 ] || { record 74 '[rank 1/2 n07] disk full' -1; exit 74; }; sleep 9"));
  EXPECT_EQ(result.status, 74);
  EXPECT_THAT(result.output, EndsWith("lockstep: first cause: rank 1 (n07): disk full\n"));
  EXPECT_THAT(result.output, Not(HasSubstr("mpirun detected"))) << "Open MPI's own text buries ours";
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(Launch, names_a_killed_rank_and_returns_its_signal) {
  const auto result =
      run(script("[ $rank = 0 ] && record 1 'peer died' 1 && exec sleep 9; exec 2>&-; "
                 "until [ -e $LOCKSTEP_EXIT_DIR/exit-0.json ]; do sleep 0.02; done; kill -KILL $$"));
  EXPECT_EQ(result.status, 137);
  EXPECT_THAT(result.output, HasSubstr("\nlockstep: rank 1 was killed by signal 9 (Killed)"));
}

TEST_F(Launch, the_first_signal_lets_the_ranks_save) {
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

TEST_F(Launch, the_second_signal_ends_ranks_that_do_not_stop) {
  const pid_t child = start(script("trap 'touch $TMPDIR/asked-$rank' USR1; wait_for_a_signal"));
  wait_until_ready();
  kill(child, SIGINT);
  while (!fs::exists(folder_ / "asked-0")) std::this_thread::yield();
  kill(child, SIGINT);
  EXPECT_EQ(finish(child).status, 130);
  EXPECT_THAT(leftovers(), IsEmpty());
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
  for (const auto* text : {"LibTorch", "Open MPI", "HDF5", "LOCKSTEP_EXIT_DIR", "cores"}) {
    EXPECT_THAT(result.output, HasSubstr(text));
  }
}

}  // namespace
}  // namespace lockstep
