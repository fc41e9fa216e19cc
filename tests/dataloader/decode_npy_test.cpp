// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataloader/decoding.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using namespace std::string_literals;

template <typename T>
std::string payload_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

std::string npy(const std::string& header, const std::string& payload, char version = 1) {
  std::string file = "\x93NUMPY"s + version + '\0' + static_cast<char>(header.size()) + '\0';
  if (version > 1) file += "\0\0"s;
  return file + header + payload;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& payload) {
  return npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }   \n", payload);
}

const std::string kPoints = npy("<f4", "(2, 3)", payload_of<float>({1, 2, 3, 4, 5, 6.5F}));

TEST(DecodeNpy, delivers_an_array_as_it_is) {
  const auto made = decoder("npy", bytes_of(kPoints));
  EXPECT_EQ(made->delivered().dtype, DType::float32);
  EXPECT_THAT(made->delivered().shape, ElementsAre(2, 3));
  EXPECT_THAT(decoded<float>(*made, bytes_of(kPoints)), ElementsAre(1, 2, 3, 4, 5, 6.5F));
}

TEST(DecodeNpy, reads_a_file_that_numpy_wrote) {  // numpy.save of numpy.int16([[1, -2]]), NumPy 1.26
  const std::string file = "\x93NUMPY\x01\0v\0"s + "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2), }" +
                           std::string(58, ' ') + "\n"s + "\x01\0\xFE\xFF"s;
  EXPECT_THAT(decoded<std::int16_t>(*decoder("npy", bytes_of(file)), bytes_of(file)), ElementsAre(1, -2));
}

TEST(DecodeNpy, rows_differ_where_the_field_is_ragged) {
  const auto made = decoder("npy", bytes_of(kPoints), {.name = "field", .ragged = true});
  EXPECT_THAT(made->delivered().shape, ElementsAre(-1, 3));
  EXPECT_EQ(made->rows(bytes_of(kPoints)), 2);
  const auto one = npy("<f4", "(1, 3)", payload_of<float>({7, 8, 9}));
  EXPECT_EQ(made->rows(bytes_of(one)), 1);
  EXPECT_THAT(decoded<float>(*made, bytes_of(one)), ElementsAre(7, 8, 9));
  EXPECT_EQ(made->rows(bytes_of(npy("<f4", "(0, 3)", ""))), 0);
  EXPECT_THAT(decoded<float>(*made, bytes_of(npy("<f4", "(0, 3)", ""))), ElementsAre());
}

TEST(DecodeNpy, reads_a_single_number) {
  const auto file = npy("<f8", "()", payload_of<double>({2.5}));
  const auto made = decoder("npy", bytes_of(file));
  EXPECT_THAT(made->delivered().shape, ElementsAre());
  EXPECT_THAT(decoded<double>(*made, bytes_of(file)), ElementsAre(2.5));
}

TEST(DecodeNpy, converts_elements) {
  const auto floats = npy("<f4", "(2,)", payload_of<float>({1, -3}));
  EXPECT_THAT(decoded<float>(*decoder("npy", bytes_of(floats),
                                      {.name = "field", .dtype = DType::float32, .scale = 2.0, .offset = 1.0}),
                             bytes_of(floats)),
              ElementsAre(3, -5));
  const auto counts = npy("<u4", "(2,)", payload_of<std::uint32_t>({1, 4'000'000'000}));
  const auto made = decoder("npy", bytes_of(counts));
  EXPECT_EQ(made->delivered().dtype, DType::int64);
  EXPECT_THAT(decoded<std::int64_t>(*made, bytes_of(counts)), ElementsAre(1, 4'000'000'000));
  EXPECT_THAT([&] { (void)decoder("npy", bytes_of(floats), {.name = "field", .dtype = DType::int64}); },
              ThrowsMessage<UsageError>(HasSubstr("float32 is not delivered as int64")));
}

TEST(DecodeNpy, reads_versions_2_and_3) {
  for (const char version : {'\2', '\3'}) {
    const auto file = npy("{\"shape\": (1,), \"descr\": \"|u1\", \"fortran_order\": False}", "A", version);
    EXPECT_THAT(decoded<char>(*decoder("npy", bytes_of(file)), bytes_of(file)), ElementsAre('A'));
  }
}

TEST(DecodeNpy, another_shape_or_type_is_another_form) {
  const auto made = decoder("npy", bytes_of(kPoints));
  const auto refuses = [&](const std::string& file, const char* why) {
    try {
      (void)decoded<float>(*made, bytes_of(file));
      FAIL() << why;
    } catch (const DamagedSample&) {
      FAIL() << "the sample is good: " << why;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  };
  refuses(npy("<f4", "(1, 3)", payload_of<float>({1, 2, 3})),
          "the array is float32 [1, 3], the field's are float32 [2, 3]");
  refuses(npy("<i4", "(2, 3)", payload_of<std::int32_t>({1, 2, 3, 4, 5, 6})), "the array is int32 [2, 3]");
  refuses(npy("<f4", "(6,)", payload_of<float>({1, 2, 3, 4, 5, 6})), "float32 [6]");
}

TEST(DecodeNpy, refuses_arrays_that_are_not_plain_numbers_in_rows) {
  const auto refuses = [](const std::string& file, const char* why) {
    EXPECT_THAT([&] { (void)decoder("npy", bytes_of(file)); },
                ThrowsMessage<DamagedSample>(AllOf(HasSubstr("field \"field\" (npy)"), HasSubstr(why))));
  };
  refuses(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "1234"), "Fortran");
  refuses(npy("|O", "(1,)", "1234"), "its elements are \"|O\"");
  refuses(npy(">f4", "(1,)", "1234"), "its elements are \">f4\"");
  refuses(npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234"), "dictionary");
  refuses(npy("<f4", "(2,)", "1234"), "[2] float32 elements do not fill 4 bytes");
  refuses(npy("<f4", "(4611686018427387905,)", "1234"), "do not fill");
  refuses(npy("<f4", "(4294967296, 4294967296, 4294967296)", ""), "do not fill");
  refuses(npy("<f4", "(-1,)", "1234"), "dictionary");
  refuses(npy("<f4", "(99999999999999999999,)", "1234"), "dictionary");
  refuses(npy("{'descr': '<f4'}", "1234"), "dictionary");
  refuses("\x93NUMPY\x01\0\xFF\xFF{}"s, "ends within its header");
  refuses("\x93NUMPY\x04\0\x01\0{}"s, "version 4");
  refuses("PK\3\4 an npz is a zip file", "not a .npy file");
}

TEST(DecodeNpy, any_flipped_bit_is_survived) {
  const auto file = bytes_of(kPoints);
  EXPECT_GT(refused_of_damaged("npy", {file.begin(), file.end()}), 0);
  EXPECT_GT(refused_of_damaged("npy", {file.begin(), file.end()}, {.name = "field", .ragged = true}), 0);
}

}  // namespace
}  // namespace lockstep::test
