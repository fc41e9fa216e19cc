// SPDX-License-Identifier: Apache-2.0
// What the readers of files that others wrote believe, and what they refuse. Round trips with the real safetensors and
// PyTorch: interchange_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "interchange/foreign_tensors.hpp"
#include "interchange/unpickle.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/interchange.hpp"
#include "lockstep/hdf5/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using std::string_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_in(const std::string& text) { return std::as_bytes(std::span(text)); }

// Numbers as they lie in memory, which is little-endian.
template <typename... T>
std::string words(T... values) {
  std::string text;
  (text.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
  return text;
}

template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  ADD_FAILURE() << "it was believed";
  return {};
}

std::string safetensors(const std::string& header, const std::string& data) {
  return words(std::uint64_t{header.size()}) + header + data;
}

std::string refused_safetensors(const std::string& header, const std::string& data) {
  const std::string file = safetensors(header, data);
  return refusal([&] { static_cast<void>(read_safetensors(bytes_in(file))); });
}

TEST(Safetensors, gives_each_tensor_its_bytes) {
  const std::string file = safetensors(
      R"({"__metadata__":{"a":"b"},"y":{"dtype":"I16","shape":[],"data_offsets":[4,6]},)"
      R"("x":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"z":{"dtype":"U8","shape":[2,0],"data_offsets":[6,6]}})",
      "abcdef");
  const ForeignTensors tensors = read_safetensors(bytes_in(file));
  ASSERT_EQ(tensors.all().size(), 3U);
  EXPECT_EQ(tensors.all()[0].name, "x");
  EXPECT_THAT(tensors.all()[0].shape, ElementsAre(1, 1));
  EXPECT_EQ(tensors.all()[1].dtype, DType::int16);
  EXPECT_EQ(tensors.all()[1].bytes.data(), bytes_in(file).data() + file.size() - 2);
  EXPECT_TRUE(tensors.all()[2].bytes.empty());
}

TEST(Safetensors, refuses_a_header_longer_than_the_file) {
  const std::string file = words(std::uint64_t{1} << 60) + "{}";
  EXPECT_THAT(refusal([&] { static_cast<void>(read_safetensors(bytes_in(file))); }),
              HasSubstr("cannot have 1152921504606846976 bytes"));
  EXPECT_THAT(refusal([] { static_cast<void>(read_safetensors({})); }), HasSubstr("0 bytes"));
}

TEST(Safetensors, refuses_bytes_that_overlap_leave_gaps_or_lie_outside) {
  const auto entry = [](const char* name, const char* offsets) {
    return "\""s + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}";
  };
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[0,4]") + "," + entry("b", "[2,6]") + "}", "123456"),
              HasSubstr("tensor b: its bytes 2 to 6 overlap"));
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[2,6]") + "}", "123456"), HasSubstr("leave a gap"));
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[0,4]") + "}", "123"), HasSubstr("outside"));
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[4,0]") + "}", "1234"), HasSubstr("tensor a"));
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[0,4]") + "}", "12345"), HasSubstr("1 bytes behind"));
  EXPECT_THAT(refused_safetensors("{" + entry("a", "[0,18446744073709551615]") + "}", ""), HasSubstr("2^63 - 1"));
}

TEST(Safetensors, refuses_a_shape_whose_product_passes_64_bits) {
  EXPECT_THAT(refused_safetensors(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", ""),
              HasSubstr("do not fit float32 [4294967296, 4294967296]"));
}

TEST(Safetensors, refuses_a_name_twice_and_a_dtype_that_is_not_stored) {
  EXPECT_THAT(refused_safetensors(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}})", ""),
              HasSubstr("tensor a: it is there twice"));
  EXPECT_THAT(refused_safetensors(R"({"a":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[0,0]}})", ""),
              HasSubstr("F8_E4M3"));
}

TEST(Safetensors, refuses_what_is_nested_too_deeply) {
  EXPECT_THAT(refused_safetensors(R"({"a":)" + std::string(1'000'000, '['), ""), HasSubstr("nested too deeply"));
}

std::string refused_pickle(const std::string& pickle) {
  return refusal([&] { static_cast<void>(unpickle_tensors(bytes_in(pickle))); });
}

std::string text(const std::string& value) { return "X" + words(static_cast<std::uint32_t>(value.size())) + value; }

// A 2 × 3 tensor of float32 whose storage is "0".
std::string pickled_tensor(const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" + text("0") +
         text("cpu") + "K\x06tQK\x00"s + "K\x02K\x03\x86" + strides + "\x89}tR";
}

TEST(Pickle, gives_tensors_of_nested_dictionaries_and_leaves_the_rest_out) {
  const std::string pickle = "\x80\x02}(" + text("epoch") + "K\x07" + text("model") + "}(" + text("fc.weight") +
                             pickled_tensor("K\x03K\x01\x86") + "uu.";
  const auto tensors = unpickle_tensors(bytes_in(pickle));
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "model/fc.weight");
  EXPECT_EQ(tensors[0].storage, "0");
  EXPECT_EQ(tensors[0].storage_elements, 6);
  EXPECT_THAT(tensors[0].shape, ElementsAre(2, 3));
  EXPECT_THAT(tensors[0].strides, ElementsAre(3, 1));
}

TEST(Pickle, refuses_every_name_but_those_of_tensors) {
  const std::string command =
      "\x80\x02"
      "cos\nsystem\n" +
      text("touch /tmp/owned") + "\x85R.";
  EXPECT_THAT(refused_pickle(command), AllOf(HasSubstr("it names os.system"), HasSubstr("nothing of it was run")));
  EXPECT_THAT(refused_pickle("\x80\x02"
                             "c__builtin__\neval\n."),
              HasSubstr("__builtin__.eval"));
  EXPECT_THAT(refused_pickle("\x80\x02"
                             "ctorch\nload\n."),
              HasSubstr("torch.load"));
}

TEST(Pickle, refuses_a_dictionary_in_itself_and_one_that_is_in_it_twice) {
  EXPECT_THAT(refused_pickle("\x80\x02}q\x00"s + text("a") + "h\x00s."s), HasSubstr("twice, or in itself"));
  EXPECT_THAT(refused_pickle("\x80\x02}(" + text("a") + "}q\x01" + text("b") + "h\x01u."), HasSubstr("twice"));
}

TEST(Pickle, refuses_what_is_nested_too_deeply) {
  std::string pickle = "\x80\x02}";
  for (int i = 0; i < 100'000; ++i) pickle += text("a") + "}";
  EXPECT_THAT(refused_pickle(pickle + std::string(100'000, 's') + "."), HasSubstr("deep"));
}

TEST(Pickle, refuses_what_ends_early_or_takes_what_is_not_there) {
  const std::string whole = "\x80\x02}(" + text("w") + pickled_tensor("K\x03K\x01\x86") + "u.";
  EXPECT_EQ(unpickle_tensors(bytes_in(whole)).size(), 1U);
  for (std::size_t length = 0; length < whole.size(); ++length) refused_pickle(whole.substr(0, length));
  EXPECT_THAT(refused_pickle("\x80\x02R."), HasSubstr("not there"));
  EXPECT_THAT(refused_pickle("\x80\x02h\x05."), HasSubstr("not there"));
  EXPECT_THAT(refused_pickle("\x80\x02}\x8a\xff."), HasSubstr("too early"));
}

// The file that `torch.save` would write, as far as it is read here.
std::string torch_file(const std::string& strides, const std::string& storage) {
  const std::string pickle = "\x80\x02}(" + text("w") + pickled_tensor(strides) + "u.";
  std::string file;
  std::string directory;
  for (const auto& [name, data] : {std::pair{"n/data.pkl"s, pickle}, std::pair{"n/data/0"s, storage}}) {
    const auto bytes = static_cast<std::uint32_t>(data.size());
    const auto name_bytes = static_cast<std::uint16_t>(name.size());
    const std::string common = words(std::uint16_t{20}, std::uint16_t{0}, std::uint16_t{0}, std::uint32_t{0},
                                     std::uint32_t{0}, bytes, bytes, name_bytes, std::uint16_t{0});
    directory += words(std::uint32_t{0x02014b50}, std::uint16_t{20}) + common + words(std::uint16_t{0}) +
                 words(std::uint64_t{0}, static_cast<std::uint32_t>(file.size())) + name;
    file += words(std::uint32_t{0x04034b50}) + common + name + data;
  }
  const auto offset = static_cast<std::uint32_t>(file.size());
  return file + directory +
         words(std::uint32_t{0x06054b50}, std::uint32_t{0}, std::uint16_t{2}, std::uint16_t{2},
               static_cast<std::uint32_t>(directory.size()), offset, std::uint16_t{0});
}

TEST(TorchFile, gives_strided_tensors_in_row_major_order) {
  const std::string file = torch_file("K\x01K\x02\x86", words(0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F));
  const ForeignTensors tensors = read_torch(bytes_in(file));
  ASSERT_EQ(tensors.all().size(), 1U);
  const auto* const values = reinterpret_cast<const char*>(tensors.all()[0].bytes.data());
  EXPECT_EQ(std::string(values, tensors.all()[0].bytes.size()), words(0.0F, 2.0F, 4.0F, 1.0F, 3.0F, 5.0F));
}

TEST(TorchFile, refuses_a_tensor_that_is_larger_than_its_storage) {
  const auto refused = [](const std::string& strides, std::size_t bytes) {
    const std::string file = torch_file(strides, std::string(bytes, 'x'));
    return refusal([&] { static_cast<void>(read_torch(bytes_in(file))); });
  };
  EXPECT_THAT(refused("K\x03K\x01\x86", 23), HasSubstr("tensor w: its storage of 23 bytes is too small"));
  EXPECT_THAT(refused("K\x04K\x01\x86", 24), HasSubstr("beyond the end"));
  EXPECT_THAT(refused("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01\x86", 24), HasSubstr("beyond the end"));
  EXPECT_THAT(refused("\x8a\x01\xffK\x01\x86", 24), HasSubstr("0 to 2^63 - 1"));
}

TEST(TorchFile, refuses_every_truncation) {
  const std::string file = torch_file("K\x03K\x01\x86", std::string(24, 'x'));
  for (std::size_t length = 0; length < file.size(); ++length) {
    const std::string part = file.substr(0, length);
    refusal([&] { static_cast<void>(read_torch(bytes_in(part))); });
  }
}

template <typename T>
std::vector<T> values_of(const ForeignTensors& tensors, const std::string& name) {
  const auto tensor = std::ranges::find(tensors.all(), name, &ForeignTensor::name);
  if (tensor == tensors.all().end()) return {};
  std::vector<T> values(tensor->bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
  return values;
}

TEST(Golden, torch_files_of_pytorch_are_read) {
  const std::string file = read_file(LOCKSTEP_GOLDEN "/net.pt");
  const ForeignTensors tensors = read_torch(bytes_in(file));
  EXPECT_EQ(tensors.all().size(), 4U);
  EXPECT_THAT(values_of<float>(tensors, "net/fc.weight"), ElementsAre(0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F));
  EXPECT_THAT(values_of<float>(tensors, "net/fc.bias"), ElementsAre(-1.0F, 0.5F));
  EXPECT_THAT(values_of<std::uint16_t>(tensors, "net/half"), ElementsAre(0xbf80, 0x3f00));
  EXPECT_THAT(values_of<float>(tensors, "net/turned"), ElementsAre(0.0F, 3.0F, 1.0F, 4.0F, 2.0F, 5.0F));
}

TEST(Golden, files_of_safetensors_are_read) {
  const std::string file = read_file(LOCKSTEP_GOLDEN "/net.safetensors");
  const ForeignTensors tensors = read_safetensors(bytes_in(file));
  EXPECT_EQ(tensors.all().size(), 2U);
  EXPECT_THAT(values_of<float>(tensors, "fc.weight"), ElementsAre(0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F));
  EXPECT_THAT(values_of<float>(tensors, "fc.bias"), ElementsAre(-1.0F, 0.5F));
}

class ForeignHdf5 : public ::testing::Test {
 protected:
  [[nodiscard]] ForeignTensors read() const {
    contents_ = read_file(path_);
    return read_hdf5(bytes_in(contents_), path_.string());
  }
  test::TemporaryDirectory folder_;
  std::filesystem::path path_ = folder_.path() / "a.h5";
  mutable std::string contents_;
};

TEST_F(ForeignHdf5, gives_each_dataset_its_bytes) {
  {
    auto file = hdf5::File::create(path_);
    file.create_dataset("/block/w", DType::bfloat16, std::vector<std::int64_t>{2});
    file.write_dataset("/block/w", bytes_in("abcd"));
    file.create_dataset("/none", DType::float32, std::vector<std::int64_t>{0, 3});
    file.close();
  }
  const ForeignTensors tensors = read();
  ASSERT_EQ(tensors.all().size(), 2U);
  EXPECT_EQ(tensors.all()[0].name, "block/w");
  EXPECT_EQ(tensors.all()[0].dtype, DType::bfloat16);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensors.all()[0].bytes.data()), 4), "abcd");
  EXPECT_TRUE(tensors.all()[1].bytes.empty());
}

TEST(Import, takes_the_format_from_the_ending) {
  EXPECT_EQ(exchange_format("a/b.safetensors"), ExchangeFormat::safetensors);
  EXPECT_EQ(exchange_format("b.pth"), ExchangeFormat::torch);
  EXPECT_EQ(exchange_format("b.hdf5"), ExchangeFormat::hdf5);
  EXPECT_THROW(static_cast<void>(exchange_format("b.onnx")), UsageError);
}

TEST(Import, refuses_names_that_leave_the_checkpoint) {
  const test::TemporaryDirectory folder;
  for (const std::string name : {"../../etc/passwd", "/absolute", "a//b", "", "."}) {
    const auto file = folder.path() / "a.safetensors";
    std::ofstream(file) << safetensors("{\"" + name + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "");
    EXPECT_THROW(import_tensors(file, "model", folder.path() / "checkpoints", 1), CheckpointError) << name;
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoints"));
  }
}

}  // namespace
}  // namespace lockstep
