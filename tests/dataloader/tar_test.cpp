// SPDX-License-Identifier: Apache-2.0
// Tar shards from byte to sample, and every way in which they can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "dataloader/synthetic.hpp"
#include "dataloader/tar_maker.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Blobs in memory, whose good bytes can be fetched again.
class MemoryStore final : public BlobStore {
 public:
  void put(const std::string& name, std::string bytes) { files_[name] = std::make_shared<File>(File{bytes, bytes}); }
  // What is cached; the copy to fetch again stays good.
  std::string& cached(const std::string& name) { return files_.at(name)->cached; }
  std::string& origin(const std::string& name) { return files_.at(name)->origin; }

  [[nodiscard]] const std::string& location() const noexcept override { return location_; }
  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override {
    return std::make_shared<MemoryBlob>(std::string(name), files_.at(std::string(name)));
  }
  [[nodiscard]] bool contains(std::string_view name) const override { return files_.contains(std::string(name)); }
  [[nodiscard]] std::vector<std::string> list() const override {
    std::vector<std::string> names;
    for (const auto& [name, file] : files_) names.push_back(name);
    return names;
  }

 private:
  struct File {
    std::string cached;
    std::string origin;
  };
  class MemoryBlob final : public Blob {
   public:
    MemoryBlob(std::string name, std::shared_ptr<File> file) : name_(std::move(name)), file_(std::move(file)) {}
    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] std::uint64_t size() const noexcept override { return file_->cached.size(); }
    [[nodiscard]] BlobView view(std::uint64_t offset, std::uint64_t bytes) const override {
      // A copy of exactly these bytes: a sanitizer sees every read beyond them.
      const auto copy = std::make_shared<std::string>(file_->cached.substr(offset, bytes));
      if (copy->size() != bytes) throw DataError({.what = name_, .why = "view outside of the blob"});
      return {.bytes = std::as_bytes(std::span(*copy)), .keeps = copy};
    }
    [[nodiscard]] bool refetch(std::uint64_t offset, std::uint64_t bytes) const override {
      file_->cached.replace(offset, bytes, file_->origin.substr(offset, bytes));
      return true;
    }

   private:
    const std::string name_;
    const std::shared_ptr<File> file_;
  };

  const std::string location_ = "memory";
  std::map<std::string, std::shared_ptr<File>> files_;
};

std::unique_ptr<const RecordReader> open_bytes(const std::string& bytes, const RecordOptions& options = {}) {
  const auto store = std::make_shared<MemoryStore>();
  store->put("a.tar", bytes);
  return open_records(store, options);
}

void expect_refused(const std::string& bytes, const std::string& part, const RecordOptions& options = {}) {
  EXPECT_THAT([&] { (void)open_bytes(bytes, options); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("a.tar"), HasSubstr(part))));
}

TarMaker two_samples() {
  TarMaker tar;
  tar.add("7.jpg", "picture").add("7.cls", "3").add("8.jpg", "other").add("8.cls", "4");
  return tar;
}

TEST(Tar, files_with_one_key_are_one_sample) {
  const auto reader = open_bytes(two_samples().finished());
  EXPECT_EQ(reader->samples(), 2);
  EXPECT_THAT(names_of(reader->fields()), ElementsAre("jpg", "cls"));
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("picture", "3"));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("other", "4"));
}

TEST(Tar, the_key_ends_at_the_first_dot_of_the_last_part) {
  TarMaker tar;
  tar.add("v1.0/a.cam.front.jpg", "x").add("v1.0/a.json", "{}").add("v2.0/a.cam.front.jpg", "y");
  const auto reader = open_bytes(tar.finished());
  EXPECT_EQ(reader->samples(), 2);
  EXPECT_THAT(names_of(reader->fields()), ElementsAre("cam.front.jpg", "json"));
  EXPECT_EQ(reader->describe(1), "a.tar, sample 1 (key v2.0/a)");
}

TEST(Tar, the_extension_tells_the_encoding) {
  TarMaker tar;
  for (const auto* name : {"0.a.jpg", "0.b.JPEG", "0.png", "0.npy", "0.json", "0.cls", "0.jpg.txt", "0.x.npy.zst"})
    tar.add(name, "");
  std::vector<std::string> encodings;
  const auto reader = open_bytes(tar.finished());
  for (const auto& field : reader->fields()) encodings.push_back(field.encoding);
  EXPECT_THAT(encodings, ElementsAre("jpg", "jpg", "png", "npy", "json", "bytes", "bytes", "npy"));
}

TEST(Tar, names_of_fields_are_lower_case_as_webdataset_has_them) {
  EXPECT_THAT(names_of(open_bytes(TarMaker().add("A.JPG", "").finished())->fields()), ElementsAre("jpg"));
}

TEST(Tar, what_is_no_sample_is_stepped_over) {
  TarMaker tar;
  tar.add("folder.d/", "", '5').add("__about__/a.txt", "x").add(".hidden.jpg", "x").add("README", "x");
  tar.add("1.jpg", "one").add("link.jpg", "", '2').add("1.cls", "1");
  const auto reader = open_bytes(tar.finished());
  EXPECT_EQ(reader->samples(), 1);
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("one", "1"));
}

TEST(Tar, an_empty_field_is_there) {
  EXPECT_THAT(read_texts(*open_bytes(TarMaker().add("1.txt", "").finished()), 0), ElementsAre(""));
}

TEST(Tar, a_sample_may_lack_a_field_that_nobody_asked_for) {
  TarMaker tar = two_samples();
  tar.add("9.cls", "5").add("9.extra", "x");
  EXPECT_THAT(read_texts(*open_bytes(tar.finished()), 2), ElementsAre("(none)", "5"));
}

TEST(Tar, a_sample_without_a_wanted_field_is_named) {
  TarMaker tar = two_samples();
  tar.add("dir/9.cls", "5");
  EXPECT_THAT(
      [&] {
        (void)open_bytes(tar.finished(), {.fields = {"cls", "jpg"}});
      },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr("a.tar, sample 2 (key dir/9), field \"jpg\""), HasSubstr("does not have it"))));
}

TEST(Tar, fields_come_in_the_order_asked_for) {
  const auto reader = open_bytes(two_samples().finished(), {.fields = {"cls", "jpg"}});
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("4", "other"));
}

TEST(Tar, a_field_twice_in_a_sample_is_refused) {
  expect_refused(TarMaker().add("1.jpg", "").add("1.jpg", "").finished(), "has it twice");
}

TEST(Tar, a_name_and_a_prefix_are_joined) {
  std::string header(512, '\0');
  header.replace(0, 5, "1.jpg");
  header.replace(124, 11, "00000000001");
  header.replace(156, 1, "0");
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(345, 4, "long");
  const auto reader = open_bytes(TarMaker().add_raw(TarMaker::with_checksum(header), "x").finished());
  EXPECT_EQ(reader->describe(0), "a.tar, sample 0 (key long/1)");
}

TEST(Tar, sizes_may_be_binary_and_checksums_signed) {
  std::string header(512, '\0');
  header.replace(0, 6, "\xC3\xA9.jpg");  // bytes above 127 make the two kinds of sums differ
  header[124] = '\x80';
  header[135] = 3;
  header[156] = '0';
  header.replace(148, 8, 8, ' ');
  int sum = 0;
  for (const char c : header) sum += static_cast<signed char>(c);
  std::snprintf(header.data() + 148, 8, "%06o", static_cast<unsigned>(sum));
  EXPECT_THAT(read_texts(*open_bytes(TarMaker().add_raw(header, "abc").finished()), 0), ElementsAre("abc"));
}

TEST(Tar, long_names_of_pax_and_gnu_are_read_also_for_messages) {
  const std::string folder(300, 'd');
  const std::string path = folder + "/1.jpg";
  const std::string record = " path=" + path + "\n";
  const auto size = std::to_string(record.size() + 3);
  TarMaker tar;
  tar.add("PaxHeaders/1", size + record, 'x').add("short", "pax");
  tar.add("././@LongLink", folder + "/2.jpg" + std::string(1, '\0'), 'L').add("short", "gnu");
  const auto reader = open_bytes(tar.finished());
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("pax"));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("gnu"));
  EXPECT_EQ(reader->describe(0), "a.tar, sample 0 (key " + folder + "/1)");
  EXPECT_EQ(reader->describe(1), "a.tar, sample 1 (key " + folder + "/2)");
}

TEST(Tar, sparse_files_are_refused) {
  expect_refused(TarMaker().add("1.jpg", "", 'S').finished(), "sparse");
  expect_refused(TarMaker().add("p", "22 GNU.sparse.major=1\n", 'x').add("1.jpg", "").finished(), "sparse");
}

TEST(Tar, damaged_extended_headers_are_refused) {
  for (const auto* records : {"999 path=x\n", "5 a=b", "-7 path\n", "x", "8 size=\n", "12 size=abc\n", "0 a=b\n",
                              "99999999999999999999999 a=b\n", "1=\n"}) {
    expect_refused(TarMaker().add("p", records, 'x').add("1.jpg", "").finished(), "extended header is damaged");
  }
}

TEST(Tar, a_size_beyond_the_file_is_refused) {
  expect_refused(TarMaker().add("p", "29 size=18446744073709551615\n", 'x').add("1.jpg", "").finished(), "truncated");
  std::string header(512, '\0');
  header.replace(0, 5, "1.jpg");
  header.replace(124, 12, std::string("\x80\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12));
  expect_refused(TarMaker().add_raw(TarMaker::with_checksum(header), "").finished(), "truncated");
}

TEST(Tar, truncation_at_any_byte_is_noticed) {
  const std::string whole = two_samples().finished();
  for (std::size_t size = 0; size < whole.size() - 512; size += 128) {  // one block of zeros is end enough
    expect_refused(whole.substr(0, size), "truncated");
  }
}

TEST(Tar, any_changed_bit_of_a_header_is_noticed) {
  const std::string whole = two_samples().finished();
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::string bytes = whole;
    const auto header = 1024 * (random() % 4);  // each is followed by one block of data
    bytes[header + random() % 512] ^= static_cast<char>(1U << random() % 8);
    try {
      // In the last byte of the checksum's field, and where its digits are, a bit may not matter. Nothing else changed.
      const auto reader = open_bytes(bytes);
      EXPECT_THAT(read_texts(*reader, 0), ElementsAre("picture", "3"));
      EXPECT_THAT(read_texts(*reader, 1), ElementsAre("other", "4"));
    } catch (const DataError&) {
    }
  }
}

TEST(Tar, a_hole_and_a_second_archive_are_noticed) {
  const std::string whole = two_samples().finished();
  expect_refused(whole + whole, "concatenated");
  std::string hole = whole;
  hole.replace(1024, 512, 512, '\0');
  expect_refused(hole, "data follow its end");
}

TEST(Tar, random_bytes_are_no_tar_and_do_no_harm) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random() % 5000, '\0');
    for (auto& c : bytes) c = static_cast<char>(random());
    EXPECT_THROW((void)open_bytes(bytes), DataError);
  }
}

TEST(Tar, without_a_sample_is_no_data_set) {
  EXPECT_THAT([] { (void)open_bytes(TarMaker().add("README", "x").finished()); },
              ThrowsMessage<DataError>(HasSubstr("no sample")));
}

TEST(Tar, a_sample_past_the_end_is_the_callers_mistake) {
  const auto reader = open_bytes(two_samples().finished());
  Record record;
  EXPECT_THROW(reader->read(2, record), UsageError);
  EXPECT_THROW(reader->read(-1, record), UsageError);
}

// Two shards in a folder, the first one with an index.
class TarShards : public testing::Test {
 protected:
  TarShards() {
    write_text(folder_ / "s-0.tar", two_samples().finished());
    write_text(folder_ / "s-1.tar", TarMaker().add("9.jpg", "third").add("9.cls", "5").finished());
    index_tar(folder_ / "s-0.tar");
  }
  [[nodiscard]] std::unique_ptr<const RecordReader> open(const RecordOptions& options = {}) const {
    return open_records(open_store(folder_.path().string()), options);
  }
  void expect_refused_index(const std::string& bytes, const std::string& part) const {
    write_text(index_, bytes);
    EXPECT_THAT([this] { (void)open(); }, ThrowsMessage<DataError>(AllOf(HasSubstr("s-0.tar.index"), HasSubstr(part))));
  }
  // With a checksum that fits.
  static std::string sealed(std::string bytes) {
    bytes.resize(bytes.size() - 4);
    const auto crc = crc32c(std::as_bytes(std::span(bytes)));
    return bytes.append(reinterpret_cast<const char*>(&crc), sizeof crc);
  }
  TemporaryDirectory folder_;
  const std::filesystem::path index_ = folder_ / "s-0.tar.index";
};

TEST_F(TarShards, are_one_data_set_in_the_order_of_their_names) {
  const auto reader = open();
  EXPECT_THAT(reader->shard_samples(), ElementsAre(2, 1));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("other", "4"));
  EXPECT_THAT(read_texts(*reader, 2), ElementsAre("third", "5"));
  EXPECT_EQ(reader->describe(2), "s-1.tar, sample 0 (key 9)");
}

TEST_F(TarShards, can_be_named_by_a_range) {
  EXPECT_EQ(open({.files = {"s-{0..1}.tar"}})->samples(), 3);
  EXPECT_EQ(open({.files = {"s-{1..1}.tar"}})->samples(), 1);
}

TEST_F(TarShards, say_the_same_with_and_without_an_index) {
  const auto with = open({.fields = {"cls"}});
  std::filesystem::remove(index_);
  const auto without = open({.fields = {"cls"}});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(read_texts(*with, i), read_texts(*without, i));
    EXPECT_EQ(with->describe(i), without->describe(i));
  }
}

TEST_F(TarShards, have_another_fingerprint_when_a_sample_changes) {
  const auto before = open()->fingerprint();
  EXPECT_EQ(open()->fingerprint(), before);
  write_text(folder_ / "s-1.tar", TarMaker().add("9.jpg", "third").add("9.cls", "55").finished());
  EXPECT_NE(open()->fingerprint(), before);
}

TEST_F(TarShards, with_an_index_every_changed_bit_of_a_sample_is_noticed_when_it_is_read) {
  auto bytes = read_file(folder_ / "s-0.tar");
  bytes[512 + 6] ^= 4;
  write_text(folder_ / "s-0.tar", bytes);
  const auto reader = open();
  Record record;
  EXPECT_THAT(
      [&] { reader->read(0, record); },
      ThrowsMessage<DamagedSample>(AllOf(HasSubstr("s-0.tar, sample 0 (key 7), field \"jpg\""), HasSubstr("CRC-32C"))));
  EXPECT_THAT(read_texts(*reader, 1), ElementsAre("other", "4"));
}

TEST_F(TarShards, a_tar_of_another_size_than_its_index_says_is_refused) {
  write_text(folder_ / "s-0.tar", two_samples().finished() + std::string(512, '\0'));
  EXPECT_THAT([this] { (void)open(); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("s-0.tar.index"), HasSubstr("truncated"))));
}

TEST_F(TarShards, any_changed_byte_of_an_index_is_noticed) {
  const auto good = read_file(index_);
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bytes = good;
    bytes[i] ^= static_cast<char>(1U << i % 8);
    expect_refused_index(bytes, "its checksum does not fit");
  }
  for (std::size_t size = 0; size < good.size(); ++size) expect_refused_index(good.substr(0, size), "does not fit");
}

TEST_F(TarShards, an_index_that_lies_is_refused) {
  const auto good = read_file(index_);
  const auto changed = [&](std::size_t at, const std::string& with) {
    auto bytes = good;
    return sealed(bytes.replace(at, with.size(), with));
  };
  expect_refused_index(changed(0, "x"), "no index");
  expect_refused_index(changed(8, "\x02"), "version 2");
  expect_refused_index(changed(12, "\xFF\xFF"), "fields");
  expect_refused_index(changed(12, std::string(1, '\0')), "samples are not in");
  expect_refused_index(changed(16, std::string("\0\0\0\0\0\0\0\x40", 8)), "samples are not in");
  expect_refused_index(changed(32, "\xFF\xFF"), "too short");
  expect_refused_index(changed(42, "\xFF\xFF\xFF\xFF"), "outside");  // the first sample's place …
  expect_refused_index(changed(46, "\xFF\xFF\xFF\xFF"), "outside");  // … and size
}

TEST_F(TarShards, a_wanted_field_that_only_another_sample_has_is_named_from_the_index) {
  write_text(folder_ / "s-0.tar", TarMaker().add("7.jpg", "x").add("8.cls", "4").finished());
  index_tar(folder_ / "s-0.tar");
  EXPECT_THAT([this] { (void)open({.fields = {"jpg"}}); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("s-0.tar, sample 1 (key 8), field \"jpg\""))));
}

TEST_F(TarShards, a_damaged_copy_is_fetched_again) {
  const auto shared = std::make_shared<MemoryStore>();
  shared->put("a.tar", read_file(folder_ / "s-0.tar"));
  shared->put("a.tar.index", read_file(index_));
  shared->cached("a.tar.index")[20] ^= 1;
  const auto reader = open_records(shared);
  shared->cached("a.tar")[512] ^= 1;
  EXPECT_THAT(read_texts(*reader, 0), ElementsAre("picture", "3"));
  shared->cached("a.tar")[512] ^= 1;
  shared->origin("a.tar")[512] ^= 1;
  Record record;
  EXPECT_THROW(reader->read(0, record), DamagedSample);
}

TEST_F(TarShards, random_damage_anywhere_delivers_no_wrong_byte) {
  const auto tar = read_file(folder_ / "s-0.tar");
  const auto index = read_file(index_);
  std::mt19937 random(3);
  const auto damage = [&](std::string bytes) {
    const auto at = random() % bytes.size();
    if (random() % 4 == 0) return bytes.substr(0, at);
    bytes[at] ^= static_cast<char>(1U << random() % 8);
    return bytes;
  };
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const bool in_index = i % 3 == 0;
    const auto store = std::make_shared<MemoryStore>();
    store->put("a.tar", in_index ? tar : damage(tar));
    store->put("a.tar.index", in_index ? damage(index) : index);
    try {
      const auto reader = open_records(store);
      EXPECT_THAT(read_texts(*reader, 0), ElementsAre("picture", "3"));
      EXPECT_THAT(read_texts(*reader, 1), ElementsAre("other", "4"));
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1500);  // the rest is in headers and padding, which an index makes superfluous
}

TEST(ExpandBraces, of_a_data_sets_files_are_ranges) {
  const TemporaryDirectory folder;
  const auto store = open_store(folder.path().string());
  const auto refused = [&](const std::string& pattern) {
    EXPECT_THAT([&] { (void)open_records(store, {.format = "tar", .files = {pattern}}); },
                ThrowsMessage<UsageError>(HasSubstr(pattern)));
  };
  refused("a-{1..}.tar");
  refused("a-{5..4}.tar");
  refused("a-{x}.tar");
  refused("a-{0..9.tar");
  refused("a-{0..99999}-{0..99999}.tar");
  refused("a-{0..18446744073709551615}.tar");
  EXPECT_THAT([&] { (void)open_records(store, {.format = "tar", .files = {"{0..1}-{08..10}.tar"}}); },
              ThrowsMessage<DataError>(HasSubstr("0-08.tar")));
}

TEST(OpenRecords, says_which_formats_there_are) {
  const TemporaryDirectory folder;
  const auto store = open_store(folder.path().string());
  EXPECT_THAT([&] { (void)open_records(store, {.format = "tarr"}); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("tarr"), HasSubstr("tar"))));
  EXPECT_THAT([&] { (void)open_records(store); }, ThrowsMessage<DataError>(HasSubstr("name the format")));
}

}  // namespace
}  // namespace lockstep
