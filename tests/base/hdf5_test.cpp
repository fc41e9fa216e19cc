// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <hdf5.h>

#include <array>
#include <cstring>
#include <numeric>
#include <random>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/hdf5/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::hdf5 {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

using Bytes = std::vector<std::byte>;
using Shape = std::vector<std::int64_t>;

Bytes random_bytes(std::size_t size) {
  std::mt19937 random(7);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

struct Hdf5File : testing::Test {
  // A file with one int16 dataset /rows of shape [4, 3] that holds 0 … 11.
  File rows_file() {
    auto file = File::create(path);
    file.create_dataset("/rows", DType::int16, Shape{4, 3});
    std::array<std::int16_t, 12> values{};
    std::iota(values.begin(), values.end(), std::int16_t{0});
    file.write_dataset("/rows", std::as_bytes(std::span(values)));
    return file;
  }
  // Makes a file by HDF5's own calls, as another program would.
  template <class Make>
  void make_foreign(Make make) {
    const auto held = lock();
    Handle file(check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), "H5Fcreate", path), &H5Fclose);
    make(file);
    file.close();
  }
  static void make_dataset(const Handle& file, Id type, Id properties) {
    const hsize_t extent = 4;
    const Handle space(check(H5Screate_simple(1, &extent, nullptr), "H5Screate_simple", "/x"), &H5Sclose);
    const Handle dataset(check(H5Dcreate2(file.get(), "/x", type, space.get(), H5P_DEFAULT, properties, H5P_DEFAULT),
                               "H5Dcreate2", "/x"),
                         &H5Dclose);
  }

  test::TemporaryDirectory folder;
  std::string path = folder / "x.h5";
};

TEST_F(Hdf5File, every_type_reads_back_the_same_bytes) {
  // Random bytes hold NaNs with payloads and denormals: any conversion would show.
  const Shape shape{5, 7};
  auto file = File::create(path);
  for (int value = 0; value <= static_cast<int>(DType::boolean); ++value) {
    const auto dtype = static_cast<DType>(value);
    const auto name = "/group/" + std::string(name_of(dtype));
    file.create_dataset(name, dtype, shape);
    file.write_dataset(name, random_bytes(35 * size_of(dtype)));
  }
  file.close();

  const auto read = File::open(path);
  for (int value = 0; value <= static_cast<int>(DType::boolean); ++value) {
    const auto dtype = static_cast<DType>(value);
    const auto name = "/group/" + std::string(name_of(dtype));
    EXPECT_EQ(read.dataset_info(name).dtype, dtype) << name;
    EXPECT_EQ(read.dataset_info(name).shape, shape) << name;
    Bytes bytes(35 * size_of(dtype));
    read.read_dataset(name, bytes);
    EXPECT_EQ(bytes, random_bytes(bytes.size())) << name;
  }
}

TEST_F(Hdf5File, sixteen_bit_floats_mean_their_values_to_other_programs) {
  // HDF5 converts from the stored type by its fields: a wrong sign, exponent or bias gives another number.
  auto file = File::create(path);
  const std::array<std::uint16_t, 2> bf16{0x3FC0, 0xC2F7};  // 1.5, -123.5
  const std::array<std::uint16_t, 2> f16{0x3E00, 0xD7B8};   // 1.5, -123.5
  file.create_dataset("/bf16", DType::bfloat16, Shape{2});
  file.write_dataset("/bf16", std::as_bytes(std::span(bf16)));
  file.create_dataset("/f16", DType::float16, Shape{2});
  file.write_dataset("/f16", std::as_bytes(std::span(f16)));
  file.close();

  const auto held = lock();
  const Handle native(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", path), &H5Fclose);
  for (const auto* const name : {"/bf16", "/f16"}) {
    const Handle dataset(check(H5Dopen2(native.get(), name, H5P_DEFAULT), "H5Dopen2", name), &H5Dclose);
    std::array<double, 2> values{};
    check(H5Dread(dataset.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "H5Dread", name);
    EXPECT_THAT(values, ElementsAre(1.5, -123.5)) << name;
  }
}

TEST_F(Hdf5File, the_offset_is_where_the_payload_lies_and_large_ones_are_aligned) {
  const auto small = random_bytes(100);
  const auto large = random_bytes(65536);
  auto file = File::create(path);
  file.create_dataset("/small", DType::uint8, Shape{100});
  file.create_dataset("/large", DType::float32, Shape{16384});
  file.write_dataset("/small", small);
  file.write_dataset("/large", large);
  file.close();

  const auto read = File::open(path);
  const auto text = read_file(path);
  const auto small_offset = read.dataset_info("/small").file_offset;
  const auto large_offset = read.dataset_info("/large").file_offset;
  EXPECT_EQ(std::memcmp(text.data() + small_offset, small.data(), small.size()), 0);
  EXPECT_EQ(std::memcmp(text.data() + large_offset, large.data(), large.size()), 0);
  EXPECT_EQ(large_offset % 4096, 0U);
}

TEST_F(Hdf5File, the_offset_is_known_before_anything_is_written) {
  // Checkpoints lay out the file first and write the payload past HDF5.
  auto file = File::create(path);
  file.create_dataset("/x", DType::float32, Shape{16384});
  EXPECT_GT(file.dataset_info("/x").file_offset, 0U);
}

TEST_F(Hdf5File, scalars_and_empty_datasets_work) {
  auto file = File::create(path);
  file.create_dataset("/scalar", DType::int64, {});
  file.create_dataset("/empty", DType::float32, Shape{0, 3});
  const std::int64_t step = 42;
  file.write_dataset("/scalar", std::as_bytes(std::span(&step, 1)));
  file.write_dataset("/empty", {});
  file.write_rows("/empty", 0, {});
  file.close();

  const auto read = File::open(path);
  std::int64_t value = 0;
  read.read_dataset("/scalar", std::as_writable_bytes(std::span(&value, 1)));
  EXPECT_EQ(value, 42);
  EXPECT_THAT(read.dataset_info("/scalar").shape, IsEmpty());
  EXPECT_EQ(read.dataset_info("/empty").shape, (Shape{0, 3}));
  EXPECT_EQ(read.dataset_info("/empty").file_offset, 0U);
  EXPECT_NO_THROW(read.read_dataset("/empty", {}));
}

TEST_F(Hdf5File, rows_are_written_and_read_where_they_belong) {
  auto file = rows_file();
  const std::array<std::int16_t, 6> changed{-1, -2, -3, -4, -5, -6};
  file.write_rows("/rows", 1, std::as_bytes(std::span(changed)));
  file.close();
  std::array<std::int16_t, 9> values{};
  File::open(path).read_rows("/rows", 1, std::as_writable_bytes(std::span(values)));
  EXPECT_THAT(values, ElementsAre(-1, -2, -3, -4, -5, -6, 9, 10, 11));
}

TEST_F(Hdf5File, bytes_that_do_not_fit_are_refused) {
  auto file = rows_file();
  Bytes bytes(24);
  EXPECT_THAT(
      [&] { file.read_dataset("/rows", std::span(bytes).first(22)); },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("x.h5:/rows"), HasSubstr("22 bytes"), HasSubstr("int16 [4, 3]"))));
  EXPECT_THROW(file.write_dataset("/rows", std::span(bytes).first(18)), UsageError);
  EXPECT_THROW(file.read_rows("/rows", 0, std::span(bytes).first(5)), UsageError) << "part of a row";
  EXPECT_THROW(file.read_rows("/rows", 3, std::span(bytes).first(12)), UsageError) << "past the last row";
  EXPECT_THROW(file.read_rows("/rows", 5, {}), UsageError);
  EXPECT_THROW(file.read_rows("/rows", -1, std::span(bytes).first(6)), UsageError);
  file.create_dataset("/scalar", DType::int16, {});
  EXPECT_THROW(file.read_rows("/scalar", 0, std::span(bytes).first(2)), UsageError);
  EXPECT_THROW(file.read_rows("/scalar", 0, {}), UsageError);
}

TEST_F(Hdf5File, datasets_are_listed_in_bytewise_order_with_full_paths) {
  auto file = File::create(path);
  for (const auto* const name : {"/b/a", "/a/z", "/a.1", "/B", "/a/b/c"})
    file.create_dataset(name, DType::uint8, Shape{1});
  EXPECT_THAT(file.datasets(), ElementsAre("/B", "/a.1", "/a/b/c", "/a/z", "/b/a"));
}

TEST_F(Hdf5File, has_dataset_tells_datasets_from_groups_and_nothing) {
  auto file = File::create(path);
  file.create_dataset("/model/w", DType::uint8, Shape{1});
  EXPECT_TRUE(file.has_dataset("/model/w"));
  EXPECT_FALSE(file.has_dataset("/model"));
  EXPECT_FALSE(file.has_dataset("/model/x"));
  EXPECT_FALSE(file.has_dataset("/optimizer/w"));
  EXPECT_FALSE(file.has_dataset("/"));
}

TEST_F(Hdf5File, a_missing_dataset_or_a_group_is_a_data_error) {
  auto file = File::create(path);
  file.create_dataset("/model/w", DType::uint8, Shape{1});
  EXPECT_THAT([&] { static_cast<void>(file.dataset_info("/x")); },
              ThrowsMessage<DataError>(HasSubstr("x.h5:/x: not in the file")));
  EXPECT_THAT([&] { static_cast<void>(file.dataset_info("/model")); },
              ThrowsMessage<DataError>(HasSubstr("not a dataset")));
}

TEST_F(Hdf5File, attributes_read_back_on_datasets_groups_and_the_root) {
  auto file = rows_file();
  file.set_attribute("/", "version", 1.0);
  file.set_attribute("/rows", "scale", 1.0 / 3.0);
  file.set_attribute("/rows", "note", "old");
  file.set_attribute("/rows", "note", "näher");
  file.set_attribute("/rows", "none", "");
  file.close();
  const auto read = File::open(path);
  EXPECT_EQ(read.number_attribute("/", "version"), 1.0);
  EXPECT_EQ(read.number_attribute("/rows", "scale"), 1.0 / 3.0);
  EXPECT_EQ(read.text_attribute("/rows", "note"), "näher");
  EXPECT_EQ(read.text_attribute("/rows", "none"), "");
  EXPECT_EQ(read.number_attribute("/rows", "gone"), std::nullopt);
  EXPECT_EQ(read.text_attribute("/rows", "gone"), std::nullopt);
}

TEST_F(Hdf5File, an_attribute_may_be_longer_than_an_object_header) {
  // Parameter groups travel as JSON; fixed-length attributes end at 64 KiB.
  const std::string text(200'000, 'x');
  auto file = rows_file();
  file.set_attribute("/rows", "groups", text);
  file.close();
  EXPECT_EQ(File::open(path).text_attribute("/rows", "groups"), text);
}

TEST_F(Hdf5File, an_attribute_of_another_type_is_a_data_error) {
  auto file = rows_file();
  file.set_attribute("/", "number", 1.0);
  file.set_attribute("/", "text", "1.0");
  EXPECT_THROW(static_cast<void>(file.text_attribute("/", "number")), DataError);
  EXPECT_THROW(static_cast<void>(file.number_attribute("/", "text")), DataError);
}

TEST_F(Hdf5File, create_refuses_a_file_that_exists) {
  rows_file().close();
  EXPECT_THAT([&] { File::create(path); }, ThrowsMessage<IoError>(HasSubstr("exists")));
  EXPECT_TRUE(File::open(path).has_dataset("/rows"));
}

TEST_F(Hdf5File, open_refuses_missing_foreign_and_truncated_files) {
  EXPECT_THROW(File::open(path), IoError);
  rows_file().close();
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_THAT([&] { File::open(path); }, ThrowsMessage<IoError>(HasSubstr("truncated")));
  write_file_durably(path, "no HDF5 at all");
  EXPECT_THROW(File::open(path), IoError);
}

TEST_F(Hdf5File, links_into_other_files_are_refused) {
  make_foreign([](const Handle& file) {
    check(H5Lcreate_external("/etc/secret.h5", "/data", file.get(), "/outside", H5P_DEFAULT, H5P_DEFAULT),
          "H5Lcreate_external", "/outside");
  });
  const auto file = File::open(path);
  for (const auto* const name : {"/outside", "/outside/deeper"}) {
    EXPECT_THAT([&] { static_cast<void>(file.has_dataset(name)); },
                ThrowsMessage<DataError>(HasSubstr("/outside is a soft or external link")));
    EXPECT_THROW(static_cast<void>(file.dataset_info(name)), DataError);
    EXPECT_THROW(static_cast<void>(file.text_attribute(name, "x")), DataError);
  }
  EXPECT_THROW(static_cast<void>(file.datasets()), DataError);
}

TEST_F(Hdf5File, data_in_other_files_are_refused) {
  make_foreign([](const Handle& file) {
    const Handle properties(check(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", "/x"), &H5Pclose);
    check(H5Pset_external(properties.get(), "/etc/passwd", 0, 4), "H5Pset_external", "/x");
    make_dataset(file, H5T_STD_U8LE, properties.get());
  });
  EXPECT_THAT([&] { static_cast<void>(File::open(path).dataset_info("/x")); },
              ThrowsMessage<DataError>(HasSubstr("in another file")));
}

TEST_F(Hdf5File, chunked_data_are_refused) {
  make_foreign([](const Handle& file) {
    const Handle properties(check(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", "/x"), &H5Pclose);
    const hsize_t chunk = 2;
    check(H5Pset_chunk(properties.get(), 1, &chunk), "H5Pset_chunk", "/x");
    make_dataset(file, H5T_STD_U8LE, properties.get());
  });
  EXPECT_THAT([&] { static_cast<void>(File::open(path).dataset_info("/x")); },
              ThrowsMessage<DataError>(HasSubstr("not stored contiguously")));
}

TEST_F(Hdf5File, element_types_of_others_are_refused) {
  for (const Id type : {H5T_STD_U16LE, H5T_IEEE_F32BE, H5T_STD_B8LE}) {
    make_foreign([type](const Handle& file) { make_dataset(file, type, H5P_DEFAULT); });
    EXPECT_THAT([&] { static_cast<void>(File::open(path).dataset_info("/x")); },
                ThrowsMessage<DataError>(HasSubstr("element type")));
  }
}

}  // namespace
}  // namespace lockstep::hdf5
