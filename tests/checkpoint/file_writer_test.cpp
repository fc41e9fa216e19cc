// SPDX-License-Identifier: Apache-2.0
#include "write/file_writer.hpp"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <thread>

#include "lockstep/base/crc32c.hpp"
#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

void fill(std::span<std::byte> bytes, unsigned seed) {
  std::mt19937 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
}

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  fill(bytes, seed);
  return bytes;
}

std::vector<std::uint32_t> crcs_of_blocks(std::span<const std::byte> bytes) {
  std::vector<std::uint32_t> crcs;
  for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
    crcs.push_back(crc32c(bytes.subspan(at, std::min<std::size_t>(kBlockBytes, bytes.size() - at))));
  }
  return crcs;
}

bool holds(const fs::path& path, std::span<const std::byte> bytes) {
  const std::string text = read_text(path);
  return text.size() == bytes.size() && std::memcmp(text.data(), bytes.data(), text.size()) == 0;
}

class FileWriterTest : public testing::Test {
 protected:
  std::span<std::byte> image(std::size_t bytes) {
    const auto result = memory_.reserve(bytes).first(bytes);
    fill(result, static_cast<unsigned>(bytes));
    return result;
  }

  test::TemporaryDirectory folder_;
  fs::path path_ = folder_.path() / "rank-00000.h5";
  StagingMemory memory_;
  FileWriter writer_;
};

class FileWriterSize : public FileWriterTest, public testing::WithParamInterface<std::size_t> {};

TEST_P(FileWriterSize, writes_all_bytes_of_the_image_and_no_more) {
  const auto bytes = image(GetParam());
  writer_.start({.path = path_, .image = bytes, .read_back = true});
  const WrittenFile written = writer_.take();
  EXPECT_TRUE(holds(path_, bytes));
  EXPECT_EQ(written.file.name, "rank-00000.h5");
  EXPECT_EQ(written.file.bytes, bytes.size());
  EXPECT_EQ(written.file.block_crcs, crcs_of_blocks(bytes));
}

INSTANTIATE_TEST_SUITE_P(All, FileWriterSize,
                         testing::Values(0, 1, 4095, 4096, 4097, 65'536, 65'537, 8 << 20, (8 << 20) + 5, 20'000'003));

TEST_F(FileWriterTest, falls_back_to_the_page_cache_where_direct_io_is_refused) {
  const auto whole = image(20'008'000);
  const auto unaligned = whole.subspan(1, 20'000'000);  // no disk takes it
  writer_.start({.path = path_, .image = unaligned, .read_back = true});
  EXPECT_EQ(writer_.take().file.block_crcs, crcs_of_blocks(unaligned));
  EXPECT_TRUE(holds(path_, unaligned));
}

TEST_F(FileWriterTest, gives_the_checksum_of_every_piece_wherever_it_lies) {
  const auto bytes = image(1'000'000);
  const std::vector<ByteRange> pieces{{0, 1},         {65'535, 2},    {65'536, 65'536},
                                      {64, 65'536},   {100, 900'000}, {65'536, 300'000},
                                      {0, 1'000'000}, {999'999, 1},   {131'072, 655'360}};
  writer_.start({.path = path_, .image = bytes, .pieces = pieces});
  const WrittenFile written = writer_.take();
  ASSERT_EQ(written.piece_crcs.size(), pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(written.piece_crcs[i], crc32c(bytes.subspan(pieces[i].first, pieces[i].bytes))) << pieces[i].first;
  }
}

TEST_F(FileWriterTest, copies_and_compares_before_it_lets_the_sources_change) {
  const auto bytes = image(10'000'000);
  auto first = random_bytes(3'000'001, 1);
  auto second = random_bytes(70, 2);
  auto other = random_bytes(5'000'003, 3);
  std::vector<std::byte> expected(bytes.begin(), bytes.end());
  std::ranges::copy(first, expected.begin() + 7);
  std::ranges::copy(second, expected.begin() + 9'000'000);
  const std::vector<std::uint32_t> crcs{crc32c(other), crc32c(second), 0};
  writer_.start({.path = path_,
                 .image = bytes,
                 .copies = {{&bytes[7], first.data(), first.size()}, {&bytes[9'000'000], second.data(), second.size()}},
                 .compared = {other, second, {}}});
  writer_.wait_until_copied();
  for (auto* source : {&first, &second, &other}) std::ranges::fill(*source, std::byte{0});
  EXPECT_EQ(writer_.take().compared_crcs, crcs);
  EXPECT_TRUE(holds(path_, expected));
}

TEST_F(FileWriterTest, takes_another_thread_in_at_any_time) {
  const auto bytes = image(30'000'001);
  const auto source = random_bytes(bytes.size(), 4);
  writer_.hurry();
  writer_.start({.path = path_, .image = bytes, .copies = {{bytes.data(), source.data(), source.size()}}});
  for (bool hurry = true; !writer_.done(); hurry = !hurry) hurry ? writer_.hurry() : writer_.relax();
  EXPECT_EQ(writer_.take().file.block_crcs, crcs_of_blocks(source));
}

TEST_F(FileWriterTest, counts_what_it_wrote_and_read_back) {
  const auto bytes = image(1'000'000);
  writer_.wait_until_copied();
  EXPECT_EQ(writer_.bytes_done(), 0U);
  writer_.start({.path = path_, .image = bytes, .read_back = true});
  while (!writer_.done()) std::this_thread::yield();
  EXPECT_EQ(writer_.bytes_done(), 2'000'000U);
  static_cast<void>(writer_.take());
}

TEST_F(FileWriterTest, writes_one_file_after_the_other) {
  const auto bytes = image(100'000);
  for (const char* name : {"a", "b", "c"}) {
    writer_.start({.path = folder_.path() / name, .image = bytes});
    EXPECT_EQ(writer_.take().file.name, name);
    EXPECT_TRUE(holds(folder_.path() / name, bytes));
  }
}

TEST_F(FileWriterTest, makes_files_for_their_owner_alone) {
  writer_.start({.path = path_, .image = image(10)});
  static_cast<void>(writer_.take());
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms{0600});
}

TEST_F(FileWriterTest, refuses_a_file_or_a_link_that_exists) {
  write_text(folder_.path() / "elsewhere", "untouched");
  fs::create_symlink("elsewhere", path_);
  for (const fs::path& path : {path_, folder_.path() / "elsewhere"}) {
    writer_.start({.path = path, .image = image(10)});
    EXPECT_THAT([&] { static_cast<void>(writer_.take()); },
                ThrowsMessage<IoError>(AllOf(HasSubstr("open " + path.string()), HasSubstr("File exists"))));
  }
  EXPECT_EQ(read_text(folder_.path() / "elsewhere"), "untouched");
}

TEST_F(FileWriterTest, a_failed_file_does_not_hinder_the_next) {
  writer_.start({.path = folder_.path() / "absent" / "file", .image = image(10)});
  writer_.wait_until_copied();
  EXPECT_THAT([&] { static_cast<void>(writer_.take()); },
              ThrowsMessage<IoError>(HasSubstr("No such file or directory")));
  const auto bytes = image(10);
  writer_.start({.path = path_, .image = bytes});
  static_cast<void>(writer_.take());
  EXPECT_TRUE(holds(path_, bytes));
}

TEST_F(FileWriterTest, a_file_past_the_shells_limit_fails_and_does_not_end_the_process) {
  const auto bytes = image(1 << 20);
  EXPECT_EXIT(
      {
        rlimit limit{};
        ::getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = 100'000;
        ::setrlimit(RLIMIT_FSIZE, &limit);
        writer_.start({.path = path_, .image = bytes});
        try {
          static_cast<void>(writer_.take());
        } catch (const IoError& error) {
          limit.rlim_cur = limit.rlim_max;  // standard error may be a file
          ::setrlimit(RLIMIT_FSIZE, &limit);
          std::cerr << error.what() << std::endl;
          std::exit(74);
        }
        std::exit(0);
      },
      testing::ExitedWithCode(74), "rank-00000.h5: File too large");
}

TEST_F(FileWriterTest, given_up_it_leaves_the_memory_alone) {
  // Under AddressSanitizer, or by a crash: the memory is gone at once.
  for (int i = 0; i < 20; ++i) {
    StagingMemory memory;
    std::vector<std::byte> source(20 << 20, std::byte{1});
    FileWriter writer;
    const auto bytes = memory.reserve(source.size()).first(source.size());
    writer.start({.path = folder_.path() / std::to_string(i),
                  .image = bytes,
                  .copies = {{bytes.data(), source.data(), source.size()}},
                  .read_back = true});
    if (i % 2 == 0) writer.wait_until_copied();
    while (i % 4 == 0 && writer.bytes_done() == 0) std::this_thread::yield();
  }
}

// The nice values of this process's threads of that name.
std::vector<int> nice_values(const std::string& name) {
  std::vector<int> values;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string comm;
    if (!std::getline(file, comm) || comm != name) continue;
    errno = 0;
    const int value = ::getpriority(PRIO_PROCESS, static_cast<id_t>(std::stoi(task.path().filename())));
    if (errno == 0) values.push_back(value);
  }
  return values;
}

TEST_F(FileWriterTest, works_in_threads_of_its_name_and_the_lowest_priority) {
  const int own = ::getpriority(PRIO_PROCESS, 0);
  const auto bytes = image(64 << 20);
  const auto is_seen = [&] {
    const auto values = nice_values("lockstep-ckpt");
    return std::ranges::find(values, 19) != values.end();
  };
  bool seen = false;
  for (int i = 0; i < 20 && !seen; ++i) {
    writer_.start({.path = folder_.path() / std::to_string(i), .image = bytes});
    while (!writer_.done() && !seen) seen = is_seen();
    static_cast<void>(writer_.take());
    fs::remove(folder_.path() / std::to_string(i));
  }
  EXPECT_TRUE(seen);
  EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), own) << "the caller's stays";
}

TEST(StagingMemory, keeps_its_place_while_it_suffices) {
  StagingMemory memory;
  const auto first = memory.reserve(10'000);
  EXPECT_EQ(first.size(), 12'288U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first.data()) % kPageBytes, 0U);
  EXPECT_EQ(memory.reserve(5).data(), first.data());
  EXPECT_GE(memory.reserve(20'000).size(), 20'000U);
}

TEST(StagingMemory, is_there_from_the_beginning) {
  StagingMemory memory;
  const auto bytes = memory.reserve(16 << 20);
  std::vector<unsigned char> resident(bytes.size() / kPageBytes);
  ASSERT_EQ(::mincore(bytes.data(), bytes.size(), resident.data()), 0);
  EXPECT_THAT(resident, testing::Each(testing::Truly([](unsigned char page) { return (page & 1U) != 0; })));
}

TEST(StagingMemory, tells_how_much_is_needed_and_available) {
  StagingMemory memory;
  EXPECT_THAT([&] { static_cast<void>(memory.reserve(std::size_t{1} << 50)); },
              ThrowsMessage<IoError>(AllOf(HasSubstr("1073741825 MiB"), HasSubstr("available"))));
  EXPECT_EQ(memory.reserve(1).size(), 4096U) << "and is good for less";
}

}  // namespace
}  // namespace lockstep
