// SPDX-License-Identifier: Apache-2.0
#include "gpu/libraries.hpp"

#include <gmock/gmock.h>

#include "gpu/plugin_loader.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kNoDriver = "no NVIDIA driver";

NcclVersions versions(int headers, int loaded, int libtorch) {
  return {.headers = headers,
          .loaded = loaded,
          .libtorch = libtorch,
          .loaded_path = "/a/libnccl.so.2",
          .libtorch_path = "/b/libtorch_cuda.so"};
}

ErrorText refusal_of(const NcclVersions& versions) {
  try {
    check_versions(versions);
  } catch (const UsageError& error) {
    return error.text();
  }
  return {};
}

ErrorText refusal_of_plugins(const std::vector<std::string>& files) {
  try {
    (void)open_plugin(files);
  } catch (const UsageError& error) {
    return error.text();
  }
  return {};
}

TEST(NcclVersions, agree_when_all_are_the_same) { EXPECT_NO_THROW(check_versions(versions(22809, 22809, 22809))); }

TEST(NcclVersions, may_differ_in_the_patch) { EXPECT_NO_THROW(check_versions(versions(22807, 22809, 22803))); }

TEST(NcclVersions, name_all_numbers_and_paths_when_another_nccl_is_loaded) {
  const auto text = refusal_of(versions(22809, 23007, 22809));
  EXPECT_EQ(text.why,
            "/a/libnccl.so.2 is NCCL 2.30.7, but /b/libtorch_cuda.so was built with 2.28.9, and lockstep with 2.28.9");
  EXPECT_THAT(text.fix, HasSubstr("LD_LIBRARY_PATH"));
}

TEST(NcclVersions, ask_for_a_new_build_when_the_headers_were_others) {
  const auto text = refusal_of(versions(22706, 22907, 22907));
  EXPECT_EQ(text.why,
            "/a/libnccl.so.2 is NCCL 2.29.7, but /b/libtorch_cuda.so was built with 2.29.7, and lockstep with 2.27.6");
  EXPECT_THAT(text.fix, HasSubstr("build lockstep again with the nccl.h of 2.29.7"));
}

TEST(NcclVersions, differ_by_major_version) { EXPECT_FALSE(refusal_of(versions(32809, 22809, 22809)).why.empty()); }

TEST(Plugin, is_said_to_be_absent_when_no_candidate_exists) {
  const auto text = refusal_of_plugins({"/nowhere/liblockstep_gpu.so", "/nowhere/lib/liblockstep_gpu.so"});
  EXPECT_THAT(text.why, HasSubstr("there is no liblockstep_gpu.so"));
  EXPECT_THAT(text.fix, AllOf(HasSubstr("cmake/bootstrap --gpu"), HasSubstr("build lockstep again")));
}

TEST(Plugin, is_refused_when_it_has_another_layout) {
  const auto text = refusal_of_plugins({"/nowhere/liblockstep_gpu.so", LOCKSTEP_OTHER_PLUGIN});
  EXPECT_THAT(text.why, AllOf(HasSubstr(LOCKSTEP_OTHER_PLUGIN), HasSubstr("another version of lockstep")));
}

TEST(Plugin, is_refused_when_it_is_no_plugin) {
  EXPECT_THAT(refusal_of_plugins({"libc.so.6"}).why, HasSubstr("another version of lockstep"));
}

TEST(Plugin, is_looked_for_on_the_run_path_and_beside_the_program) {
  const auto files = plugin_files();
  ASSERT_EQ(files.size(), 3U);
  EXPECT_EQ(files[0], "liblockstep_gpu.so");
  EXPECT_THAT(files[1], testing::MatchesRegex("/.*/liblockstep_gpu\\.so"));
  EXPECT_THAT(files[2], testing::MatchesRegex("/.*/lib/liblockstep_gpu\\.so"));
}

TEST(LoaderTexts, name_the_library_that_is_missing) {
  const auto text = explain_loader("libcudnn.so.9: cannot open shared object file: No such file or directory");
  EXPECT_EQ(text.why, "libcudnn.so.9 is missing, which LibTorch needs for GPUs");
  EXPECT_THAT(text.fix, HasSubstr("cmake/bootstrap --gpu"));
}

TEST(LoaderTexts, tell_other_versions_by_a_symbol_that_is_missing) {
  const auto text = explain_loader("/x/liblockstep_gpu.so: undefined symbol: ncclCommRevoke");
  EXPECT_EQ(text.why, "/x/liblockstep_gpu.so: undefined symbol: ncclCommRevoke");
  EXPECT_THAT(text.fix, HasSubstr("build lockstep again"));
}

// Holds on every machine: with a GPU it loads, and without it says why not and what to do.
TEST(Libraries, load_or_explain_why_not) {
  try {
    const auto& libraries = load_libraries();
    EXPECT_NE(libraries.cuda, nullptr);
    EXPECT_NE(libraries.nccl, nullptr);
    EXPECT_EQ(&load_libraries(), &libraries);
  } catch (const UsageError& error) {
    EXPECT_FALSE(error.text().why.empty());
    EXPECT_FALSE(error.text().fix.empty());
    if (!driver_is_present()) {
      EXPECT_THAT(error.text().why, HasSubstr(kNoDriver));
      EXPECT_THAT(error.text().fix, Not(HasSubstr("cmake/bootstrap")));
    }
  }
}

}  // namespace
}  // namespace lockstep::comm::gpu
