// SPDX-License-Identifier: Apache-2.0
// replay CORPUS: runs each target on what is in its folder. A crash, or an error that is not ours, ends it.
#include <cstdio>
#include <filesystem>

#include "lockstep/base/file.hpp"
#include "targets.hpp"

int main(int count, char** arguments) {
  if (count < 2) return 2;
  for (const auto& target : lockstep::fuzz::kTargets) {
    int inputs = 0;
    for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(arguments[1]) / target.name)) {
      target.run(lockstep::read_file(file.path()));
      ++inputs;
    }
    std::printf("%.*s: %d inputs\n", static_cast<int>(target.name.size()), target.name.data(), inputs);
    if (inputs == 0) return 1;
  }
}
