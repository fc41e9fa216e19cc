// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temporary_directory.hpp"

namespace lockstep::test {

// tests/support/object_server.py, on a folder of its own. LOCKSTEP_TEST_SUPPORT names the folder of the script.
class ObjectServer {
 public:
  explicit ObjectServer(const std::vector<std::string>& faults = {}) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    stdin_ = in[1];
    std::filesystem::create_directory(folder_ / "root");
    std::vector<std::string> words{"python3", LOCKSTEP_TEST_SUPPORT "/object_server.py", root().string(),
                                   log().string()};
    words.insert(words.end(), faults.begin(), faults.end());
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    const int code = ::posix_spawnp(&pid_, "python3", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    std::array<char, 16> text{};
    const auto read = code == 0 ? ::read(out[0], text.data(), text.size() - 1) : 0;
    ::close(out[0]);
    if (read <= 0) throw std::runtime_error("object_server.py does not start");
    port_ = std::stoi(text.data());
  }
  ObjectServer(const ObjectServer&) = delete;
  ObjectServer& operator=(const ObjectServer&) = delete;
  ~ObjectServer() { stop(); }

  void stop() {
    if (pid_ <= 0) return;
    ::close(stdin_);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  [[nodiscard]] std::filesystem::path root() const { return folder_ / "root"; }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  // How many lines of its log begin with `method` and hold `text`.
  [[nodiscard]] int requests(const std::string& method, const std::string& text = "") const {
    std::ifstream file(log());
    int count = 0;
    for (std::string line; std::getline(file, line);) {
      count += line.starts_with(method) && line.find(text) != line.npos ? 1 : 0;
    }
    return count;
  }

 private:
  [[nodiscard]] std::filesystem::path log() const { return folder_ / "log"; }

  TemporaryDirectory folder_;
  pid_t pid_ = -1;
  int stdin_ = -1;
  int port_ = 0;
};

}  // namespace lockstep::test
