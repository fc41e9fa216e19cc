// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/blob.hpp"
#include "support/object_server.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::ObjectServer;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kPiece = 4U << 20U;

std::string random_bytes(std::uint64_t size, unsigned seed = 1) {
  std::mt19937_64 random(seed);
  std::string bytes(size + 8, '\0');
  for (std::uint64_t at = 0; at < size; at += 8) {
    const auto word = random();
    std::memcpy(bytes.data() + at, &word, 8);
  }
  bytes.resize(size);
  return bytes;
}

void put(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string text_of(const BlobView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

// Reads the blob from front to back in views that do not fit the pieces.
std::string read_all(const Blob& blob, std::uint64_t step = 700'001) {
  std::string bytes;
  while (bytes.size() < blob.size()) {
    bytes += text_of(blob.view(bytes.size(), std::min<std::uint64_t>(step, blob.size() - bytes.size())));
  }
  return bytes;
}

// Of the cache. With its lock, else files that come and go are counted twice or not at all.
std::uint64_t bytes_in(const fs::path& folder) {
  const FileDescriptor lock(::open((folder / "lock").c_str(), O_RDWR | O_CLOEXEC));
  if (!lock || ::flock(lock.get(), LOCK_SH) != 0) return 0;
  std::uint64_t sum = 0;
  std::error_code gone;
  for (const auto& file : fs::directory_iterator(folder, gone)) {
    const auto size = file.file_size(gone);
    if (!gone) sum += size;
  }
  return sum;
}

std::vector<fs::path> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& file : fs::directory_iterator(folder)) {
    if (file.path().extension() == extension) files.push_back(file.path());
  }
  return files;
}

template <typename Caught>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Caught& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

// Runs `body` in a process of its own. Before this process has threads that matter.
pid_t in_process(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  try {
    body();
    std::_Exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(1);
  }
}

int exit_status(pid_t pid) {
  int status = -1;
  ::waitpid(pid, &status, 0);
  return status;
}

class Remote : public testing::Test {
 protected:
  RemoteOptions options(std::uint64_t cache_bytes = 1U << 30U) const {
    return {.cache_folder = (folder_ / "cache").string(), .cache_bytes = cache_bytes, .attempts = 12};
  }
  fs::path cache() const { return folder_ / "cache"; }
  std::shared_ptr<const Blob> open(const ObjectServer& server, const std::string& name = "a.bin") const {
    return open_store(server.url(), options())->open(name);
  }

  TemporaryDirectory folder_;
};

TEST_F(Remote, gives_the_bytes_of_the_file_over_pieces_and_their_borders) {
  const ObjectServer server;
  const auto bytes = random_bytes(3 * kPiece + 12'345);
  put(server.root() / "part/a.bin", bytes);
  const auto blob = open_store(server.url() + "/part", options())->open("a.bin");
  EXPECT_EQ(blob->size(), bytes.size());
  EXPECT_EQ(blob->name(), server.url() + "/part/a.bin");
  EXPECT_EQ(read_all(*blob), bytes);
  EXPECT_EQ(text_of(blob->view(0, bytes.size())), bytes);
  EXPECT_EQ(text_of(blob->view(kPiece - 3, 7)), bytes.substr(kPiece - 3, 7));
  EXPECT_EQ(text_of(blob->view(bytes.size(), 0)), "");
}

TEST_F(Remote, opens_an_empty_file) {
  const ObjectServer server;
  put(server.root() / "a.bin", "");
  const auto blob = open(server);
  EXPECT_EQ(blob->size(), 0U);
  EXPECT_TRUE(blob->view(0, 0).bytes.empty());
}

TEST_F(Remote, refuses_a_range_outside_of_the_blob) {
  const ObjectServer server;
  put(server.root() / "a.bin", "abc");
  const auto blob = open(server);
  EXPECT_THAT(message_of<DataError>([&] { static_cast<void>(blob->view(2, 2)); }), HasSubstr("it has 3 bytes"));
  EXPECT_THROW(static_cast<void>(blob->view(~std::uint64_t{0}, 2)), DataError);
  EXPECT_THROW(static_cast<void>(blob->refetch(4, 0)), DataError);
}

TEST_F(Remote, a_view_outlives_the_pieces_that_come_after_it) {
  const ObjectServer server;
  const auto bytes = random_bytes(6 * kPiece);
  put(server.root() / "a.bin", bytes);
  const auto blob = open_store(server.url(), options(2 * kPiece))->open("a.bin");  // with room for one
  const auto first = blob->view(10, 1000);
  EXPECT_EQ(read_all(*blob), bytes);
  EXPECT_EQ(text_of(first), bytes.substr(10, 1000));
}

TEST_F(Remote, takes_from_the_cache_what_it_has) {
  const ObjectServer server;
  put(server.root() / "a.bin", random_bytes(2 * kPiece));
  static_cast<void>(read_all(*open(server)));
  const auto before = server.requests("GET");
  EXPECT_EQ(read_all(*open(server)), random_bytes(2 * kPiece));
  EXPECT_EQ(server.requests("GET"), before);
}

TEST_F(Remote, threads_that_want_one_piece_fetch_it_once) {
  const ObjectServer server({"--latency", "0.05"});
  put(server.root() / "a.bin", random_bytes(1000));
  const auto blob = open(server);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_EQ(blob->view(0, 1000).bytes.size(), 1000U); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(server.requests("GET"), 1);
}

TEST_F(Remote, reads_ahead_of_who_reads_in_order_and_not_of_others) {
  const ObjectServer server;
  put(server.root() / "a.bin", random_bytes(12 * kPiece));
  put(server.root() / "b.bin", random_bytes(12 * kPiece));
  static_cast<void>(open(server, "b.bin")->view(6 * kPiece, 1));
  EXPECT_EQ(server.requests("GET", "/b.bin"), 1);
  const auto blob = open(server);
  static_cast<void>(blob->view(0, 1));
  static_cast<void>(blob->view(kPiece, 1));
  static_cast<void>(blob->view(5 * kPiece, 0));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (files_in(cache(), ".piece").size() < 1 + 6 && std::chrono::steady_clock::now() < deadline) ::usleep(1000);
  EXPECT_EQ(server.requests("GET", "/a.bin"), 6);  // 0, 1 and four ahead
}

TEST_F(Remote, prefetches_what_it_is_told) {
  const ObjectServer server;
  put(server.root() / "a.bin", random_bytes(3 * kPiece));
  const auto blob = open(server);
  blob->prefetch(kPiece, kPiece);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (files_in(cache(), ".piece").empty() && std::chrono::steady_clock::now() < deadline) ::usleep(1000);
  static_cast<void>(blob->view(kPiece, kPiece));
  EXPECT_EQ(server.requests("GET", "bytes=4194304-8388607 206"), 1);
}

// Faults of server and network.

class RemoteFaults : public Remote, public testing::WithParamInterface<std::vector<std::string>> {};

TEST_P(RemoteFaults, do_not_change_the_bytes) {
  const ObjectServer server(GetParam());
  const auto bytes = random_bytes(16 * kPiece + 1);
  put(server.root() / "a.bin", bytes);
  auto impatient = options();
  impatient.timeout = std::chrono::milliseconds(400);
  EXPECT_TRUE(read_all(*open_store(server.url(), impatient)->open("a.bin")) == bytes);
}

INSTANTIATE_TEST_SUITE_P(Kinds, RemoteFaults,
                         testing::Values(std::vector<std::string>{"--error", "0.2", "--seed", "1"},
                                         std::vector<std::string>{"--error", "0.2", "--error-status", "429"},
                                         std::vector<std::string>{"--short", "0.3", "--seed", "2"},
                                         std::vector<std::string>{"--stall", "0.2", "--seed", "3"},
                                         std::vector<std::string>{"--latency", "0.05", "--bandwidth", "2e8", "--error",
                                                                  "0.05", "--stall", "0.05", "--short", "0.05"}));

TEST_F(Remote, gives_up_after_the_last_attempt_and_says_why) {
  const ObjectServer server({"--error", "1", "--error-status", "503"});
  auto few = options();
  few.attempts = 3;
  const auto store = open_store(server.url() + "/set", few);
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(store->open("a.bin")); }),
              AllOf(HasSubstr("HEAD " + server.url() + "/set/a.bin"), HasSubstr("HTTP 503"),
                    HasSubstr("attempt 3 of 3"), HasSubstr("Fix: ")));
  EXPECT_EQ(server.requests("HEAD"), 3);
}

TEST_F(Remote, does_not_repeat_what_is_refused) {
  const ObjectServer server({"--error", "1", "--error-status", "403"});
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(open_store(server.url(), options())->open("a.bin")); }),
              AllOf(HasSubstr("HTTP 403"), HasSubstr("attempt 1 of 12")));
  EXPECT_EQ(server.requests("HEAD"), 1);
}

TEST_F(Remote, waits_as_long_as_the_server_asks) {
  const ObjectServer server({"--error", "1", "--error-status", "503", "--retry-after", "1"});
  auto few = options();
  few.attempts = 2;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(static_cast<void>(open_store(server.url(), few)->open("a.bin")), IoError);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST_F(Remote, names_a_server_that_is_not_there) {
  ObjectServer server;
  const auto url = server.url();
  server.stop();
  auto few = options();
  few.attempts = 2;
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(open_store(url, few)->open("a.bin")); }),
              AllOf(HasSubstr("curl 7"), HasSubstr("attempt 2 of 2")));
}

TEST_F(Remote, shows_no_password_and_no_signature) {
  ObjectServer server;
  auto url = server.url();
  server.stop();
  url.insert(std::strlen("http://"), "me:SECRET1@");
  auto few = options();
  few.attempts = 1;
  const auto store = open_store(url + "/set?sig=SECRET2", few);
  EXPECT_THAT(store->location(), Not(HasSubstr("SECRET")));
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(store->open("a.bin")); }), Not(HasSubstr("SECRET")));
}

TEST_F(Remote, a_server_without_ranges_is_refused) {
  const ObjectServer server({"--no-ranges"});
  put(server.root() / "a.bin", random_bytes(2 * kPiece));
  const auto blob = open(server);
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(blob->view(0, 1)); }), HasSubstr("range"));
}

TEST_F(Remote, an_object_that_changes_is_an_error_with_both_etags) {
  const ObjectServer server;
  put(server.root() / "a.bin", random_bytes(3 * kPiece, 1));
  const auto blob = open(server);
  put(server.root() / "a.bin", random_bytes(3 * kPiece, 2));
  EXPECT_THAT(message_of<DataError>([&] { static_cast<void>(blob->view(0, 1)); }),
              testing::ContainsRegex("it changed.*ETag \"[0-9a-f]+\".*ETag \"[0-9a-f]+\""));
  EXPECT_EQ(text_of(open(server)->view(0, 1000)), random_bytes(1000, 2));
}

TEST_F(Remote, fetches_again_what_came_damaged) {
  const ObjectServer server({"--corrupt-once"});
  const auto bytes = random_bytes(2 * kPiece);
  put(server.root() / "a.bin", bytes);
  const auto blob = open(server);
  const auto damaged = blob->view(100, kPiece);
  EXPECT_NE(text_of(damaged), bytes.substr(100, kPiece));
  EXPECT_TRUE(blob->refetch(100, kPiece));
  EXPECT_EQ(text_of(blob->view(100, kPiece)), bytes.substr(100, kPiece));
  EXPECT_EQ(text_of(blob->view(0, 10)), bytes.substr(0, 10));
}

// The cache.

TEST_F(Remote, a_cache_smaller_than_a_piece_is_refused) {
  EXPECT_THAT(message_of<UsageError>([&] { static_cast<void>(open_store("http://127.0.0.1", options(kPiece))); }),
              HasSubstr("one piece takes"));
}

TEST_F(Remote, the_cache_never_passes_its_limit) {
  const ObjectServer server;
  const auto bytes = random_bytes(24 * kPiece);
  put(server.root() / "a.bin", bytes);
  put(server.root() / "b.bin", bytes);
  constexpr std::uint64_t kLimit = 6 * kPiece + 1000;
  const auto read = [&](const std::string& name) {
    return [&, name] {
      if (read_all(*open_store(server.url(), options(kLimit))->open(name)) != bytes) throw std::runtime_error("bytes");
    };
  };
  const auto children = {in_process(read("a.bin")), in_process(read("a.bin")), in_process(read("b.bin"))};
  std::uint64_t most = 0;
  std::atomic<bool> done = false;
  std::thread sampler([&] {
    for (; !done; ::usleep(500)) most = std::max(most, bytes_in(cache()));
  });
  for (const auto child : children) EXPECT_EQ(exit_status(child), 0);
  done = true;
  sampler.join();
  EXPECT_LE(most, kLimit);
  EXPECT_GT(most, 3 * kPiece);
}

TEST_F(Remote, a_full_cache_of_pieces_in_use_does_not_stop_reading) {
  const ObjectServer server;
  const auto bytes = random_bytes(6 * kPiece);
  put(server.root() / "a.bin", bytes);
  const auto blob = open_store(server.url(), options(3 * kPiece))->open("a.bin");
  std::vector<BlobView> views;
  for (int i = 0; i < 6; ++i) views.push_back(blob->view(i * kPiece, kPiece));
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(text_of(views[i]) == bytes.substr(i * kPiece, kPiece)) << i;
  EXPECT_LE(bytes_in(cache()), 3 * kPiece);
}

TEST_F(Remote, processes_share_what_one_has_fetched) {
  const ObjectServer server({"--latency", "0.02"});
  const auto bytes = random_bytes(10 * kPiece);
  put(server.root() / "a.bin", bytes);
  const auto read = [&] {
    if (read_all(*open(server)) != bytes) throw std::runtime_error("bytes");
  };
  const auto children = {in_process(read), in_process(read)};
  for (const auto child : children) EXPECT_EQ(exit_status(child), 0);
  EXPECT_EQ(server.requests("GET"), 10);
}

TEST_F(Remote, a_corrupt_piece_in_the_cache_is_fetched_again) {
  const ObjectServer server;
  const auto bytes = random_bytes(kPiece);
  put(server.root() / "a.bin", bytes);
  static_cast<void>(read_all(*open(server)));
  for (const auto& file : files_in(cache(), ".piece")) {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(12'345);
    stream.put(static_cast<char>(bytes[12'345] ^ 1));
  }
  EXPECT_TRUE(read_all(*open(server)) == bytes);
  EXPECT_EQ(server.requests("GET"), 2);
}

TEST_F(Remote, a_truncated_piece_in_the_cache_is_fetched_again) {
  const ObjectServer server;
  const auto bytes = random_bytes(kPiece);
  put(server.root() / "a.bin", bytes);
  static_cast<void>(read_all(*open(server)));
  for (const auto& file : files_in(cache(), ".piece")) fs::resize_file(file, 1000);
  EXPECT_TRUE(read_all(*open(server)) == bytes);
}

TEST_F(Remote, a_killed_process_leaves_a_cache_that_works) {
  const ObjectServer server({"--bandwidth", "5e7"});
  const auto bytes = random_bytes(12 * kPiece);
  put(server.root() / "a.bin", bytes);
  const auto child = in_process([&] { static_cast<void>(read_all(*open(server))); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (server.requests("GET") < 5 && std::chrono::steady_clock::now() < deadline) ::usleep(1000);
  ::kill(child, SIGKILL);
  exit_status(child);
  EXPECT_FALSE(files_in(cache(), ".incoming").empty());  // or this test shows nothing
  const auto store = open_store(server.url(), options());
  EXPECT_TRUE(files_in(cache(), ".incoming").empty());
  EXPECT_TRUE(read_all(*store->open("a.bin")) == bytes);
}

TEST_F(Remote, leaves_files_of_others_in_its_folder_alone) {
  const ObjectServer server;
  put(server.root() / "a.bin", random_bytes(4 * kPiece));
  put(cache() / "thesis.tex", "years of work");
  static_cast<void>(read_all(*open_store(server.url(), options(kPiece + 100))->open("a.bin")));
  EXPECT_EQ(read_file(cache() / "thesis.tex"), "years of work");
}

// Names.

TEST_F(Remote, a_name_that_leaves_the_store_is_refused) {
  const ObjectServer server;
  put(server.root() / "secret", "x");
  const auto store = open_store(server.url() + "/set", options());
  for (const auto* name : {"../secret", "/secret", "a/../../secret", "", ".", "a//b", "a/"}) {
    EXPECT_THROW(static_cast<void>(store->open(name)), DataError) << name;
    EXPECT_THROW(static_cast<void>(store->contains(name)), DataError) << name;
  }
  EXPECT_EQ(server.requests(""), 0);
}

TEST_F(Remote, a_name_with_odd_characters_is_that_file) {
  const ObjectServer server;
  const std::string name = "a b?c#d%41+ü&.bin";
  put(server.root() / name, "odd");
  EXPECT_EQ(read_all(*open(server, name)), "odd");
}

TEST_F(Remote, tells_what_is_there) {
  const ObjectServer server;
  put(server.root() / "a.bin", "x");
  const auto store = open_store(server.url(), options());
  EXPECT_TRUE(store->contains("a.bin"));
  EXPECT_FALSE(store->contains("b.bin"));
  EXPECT_THAT(message_of<DataError>([&] { static_cast<void>(store->open("b.bin")); }), HasSubstr("no such file"));
}

TEST_F(Remote, an_http_store_cannot_be_listed) {
  EXPECT_THAT(message_of<UsageError>([&] { static_cast<void>(open_store("http://127.0.0.1/x", options())->list()); }),
              HasSubstr("shard-{"));
}

TEST_F(Remote, an_unknown_scheme_is_refused) {
  EXPECT_THAT(message_of<UsageError>([&] { static_cast<void>(open_store("gopher://host/x", options())); }),
              HasSubstr("s3://"));
  EXPECT_THROW(static_cast<void>(open_store("s3:///x", options())), UsageError);
  EXPECT_THROW(static_cast<void>(open_store("http://", options())), UsageError);
}

// S3.

class S3 : public Remote {
 protected:
  S3() {
    for (const auto* name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}) ::unsetenv(name);
    ::setenv("AWS_REGION", "eu-test-1", 1);
  }
  static void sign_with(const char* key, const char* secret) {
    ::setenv("AWS_ACCESS_KEY_ID", key, 1);
    ::setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
  }
  static void use(const ObjectServer& server) { ::setenv("AWS_ENDPOINT_URL", server.url().c_str(), 1); }
};

TEST_F(S3, lists_a_prefix_over_several_pages) {
  const ObjectServer server({"--page", "2"});
  use(server);
  for (const auto* name : {"e", "a&b <c>", "c", "b", "d", "deeper/x"}) {
    put(server.root() / "bucket/data set" / name, name);
  }
  put(server.root() / "bucket/other", "");
  const auto store = open_store("s3://bucket/data set", options());
  EXPECT_THAT(store->list(), ElementsAre("a&b <c>", "b", "c", "d", "e"));
  EXPECT_EQ(server.requests("GET", "list-type=2"), 3);
  EXPECT_EQ(store->open("c")->size(), 1U);
  EXPECT_EQ(server.requests("HEAD"), 0);  // the list has told size and ETag
  EXPECT_EQ(text_of(store->open("a&b <c>")->view(0, 7)), "a&b <c>");
}

TEST_F(S3, signs_requests) {
  const ObjectServer server({"--credentials", "KEY:SE/CRET", "--page", "1"});
  use(server);
  put(server.root() / "bucket/p/a b.bin", "12345");
  put(server.root() / "bucket/p/c+d", "678");
  sign_with("KEY", "SE/CRET");
  const auto store = open_store("s3://bucket/p/", options());
  EXPECT_EQ(text_of(store->open("a b.bin")->view(1, 3)), "234");
  EXPECT_THAT(store->list(), ElementsAre("a b.bin", "c+d"));
  EXPECT_EQ(text_of(store->open("c+d")->view(0, 3)), "678");
}

TEST_F(S3, sends_and_signs_the_session_token) {
  const ObjectServer server({"--credentials", "KEY:SECRET:TO+KEN=="});
  use(server);
  put(server.root() / "bucket/a.bin", "12345");
  sign_with("KEY", "SECRET");
  EXPECT_THROW(static_cast<void>(open_store("s3://bucket", options())->open("a.bin")), IoError);
  ::setenv("AWS_SESSION_TOKEN", "TO+KEN==", 1);
  EXPECT_EQ(text_of(open_store("s3://bucket", options())->open("a.bin")->view(0, 5)), "12345");
}

TEST_F(S3, a_wrong_secret_is_refused_in_the_stores_words) {
  const ObjectServer server({"--credentials", "KEY:SECRET"});
  use(server);
  fs::create_directories(server.root() / "bucket");
  sign_with("KEY", "WRONG");
  EXPECT_THAT(message_of<IoError>([&] { static_cast<void>(open_store("s3://bucket", options())->list()); }),
              AllOf(HasSubstr("HTTP 403: SignatureDoesNotMatch: the signature & the request differ"),
                    HasSubstr("check the credentials"), Not(HasSubstr("WRONG"))));
}

TEST_F(S3, a_bucket_that_is_not_there_is_named) {
  const ObjectServer server;
  use(server);
  EXPECT_THAT(message_of<DataError>([&] { static_cast<void>(open_store("s3://nowhere/x", options())->list()); }),
              AllOf(HasSubstr("s3://nowhere/x"), HasSubstr("no such bucket")));
}

}  // namespace
}  // namespace lockstep
