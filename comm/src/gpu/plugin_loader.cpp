// SPDX-License-Identifier: Apache-2.0
#include "plugin_loader.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

namespace lockstep::comm::gpu {
namespace {

constexpr const char* kPluginFile = "liblockstep_gpu.so";
constexpr const char* kWhat = "loading what drives GPUs";
constexpr std::string_view kNoFile = ": cannot open shared object file";

}  // namespace

std::vector<std::string> plugin_files() {
  std::error_code unreadable;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", unreadable).parent_path();
  return {kPluginFile, folder / kPluginFile, folder.parent_path() / "lib" / kPluginFile};
}

ErrorText explain_loader(std::string_view text) {
  const auto missing = text.substr(0, text.find(kNoFile));
  if (missing.size() == text.size()) {
    return {.what = kWhat,
            .why = std::string(text),
            .fix =
                "the libraries are of other versions than those that lockstep was built with: run cmake/bootstrap "
                "--gpu and build lockstep again"};
  }
  if (missing.ends_with(kPluginFile)) {
    return {.what = kWhat,
            .why = fmt::format("there is no {} on the run path and beside the program", kPluginFile),
            .fix =
                "run cmake/bootstrap --gpu, which brings the headers of CUDA and NCCL, and build lockstep again; "
                "CMake says in the line \"GPU part\" what it found"};
  }
  return {.what = kWhat,
          .why = fmt::format("{} is missing, which LibTorch needs for GPUs", missing),
          .fix = "run cmake/bootstrap --gpu, which installs it, or add its folder to LD_LIBRARY_PATH"};
}

const Libraries& open_plugin(std::span<const std::string> files) {
  std::string text;
  for (const auto& file : files) {
    if (void* const plugin = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {  // never closed
      const auto entry = reinterpret_cast<PluginEntry>(::dlsym(plugin, kPluginEntry));
      const auto* const libraries = entry == nullptr ? nullptr : entry(kPluginLayout);
      if (libraries != nullptr) return *libraries;
      throw UsageError({.what = kWhat,
                        .why = fmt::format("{} belongs to another version of lockstep than this program", file),
                        .fix = "build or install both together"});
    }
    text = ::dlerror();
    if (!text.starts_with(fmt::format("{}{}", file, kNoFile)))
      break;  // it is there, and something that it needs is not
  }
  throw UsageError(explain_loader(text));
}

}  // namespace lockstep::comm::gpu
