// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "interchange/export_file.hpp"
#include "interchange/foreign_tensors.hpp"
#include "lockstep/base/error.hpp"

// The format: https://github.com/huggingface/safetensors, "Format".
namespace lockstep {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);
constexpr std::uint64_t kLargestHeader = 100'000'000;  // that of the reference implementation
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kHeader = "its header";
constexpr std::array<std::pair<const char*, DType>, 10> kNames{{{"F64", DType::float64},
                                                                {"F32", DType::float32},
                                                                {"F16", DType::float16},
                                                                {"BF16", DType::bfloat16},
                                                                {"I64", DType::int64},
                                                                {"I32", DType::int32},
                                                                {"I16", DType::int16},
                                                                {"I8", DType::int8},
                                                                {"U8", DType::uint8},
                                                                {"BOOL", DType::boolean}}};

const char* name_in_file(DType dtype) {
  return std::ranges::find(kNames, dtype, &std::pair<const char*, DType>::second)->first;
}

DType dtype_in_file(const std::string& name, const std::string& tensor) {
  const auto found = std::ranges::find_if(kNames, [&](const auto& pair) { return name == pair.first; });
  if (found == kNames.end()) refuse(tensor_text(tensor), fmt::format("lockstep does not store dtype {}", name));
  return found->second;
}

// Refuses what the parser would take: a name twice, of which only the last would be seen.
class StrictNames {
 public:
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    constexpr int kDeepest = 3;  // {tensor: {"shape": [
    if (depth > kDeepest) refuse(kHeader, "it is nested too deeply");
    if (event == nlohmann::json::parse_event_t::key && depth == 1 &&
        !names_.insert(parsed.get_ref<const std::string&>()).second) {
      refuse(tensor_text(parsed.get_ref<const std::string&>()), "it is there twice");
    }
    return true;
  }

 private:
  std::set<std::string> names_;
};

struct Located {
  ForeignTensor tensor;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

std::uint64_t natural(const nlohmann::json& value, const std::string& tensor) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) {
    refuse(tensor_text(tensor), "a dimension or an offset is not a number from 0 to 2^63 - 1");
  }
  return value.get<std::uint64_t>();
}

Located read_entry(const std::string& name, const nlohmann::json& entry) {
  Located located{
      .tensor = {
          .name = name, .dtype = dtype_in_file(entry.at("dtype").get<std::string>(), name), .shape = {}, .bytes = {}}};
  const auto& offsets = entry.at("data_offsets");
  if (!entry.at("shape").is_array() || !offsets.is_array() || offsets.size() != 2) {
    refuse(tensor_text(name), "it has no shape, or not two offsets");
  }
  for (const auto& dimension : entry.at("shape")) {
    located.tensor.shape.push_back(static_cast<std::int64_t>(natural(dimension, name)));
  }
  located.first = natural(offsets[0], name);
  located.last = natural(offsets[1], name);
  return located;
}

std::vector<Located> read_header(std::string_view text) {
  std::vector<Located> located;
  try {
    const auto header = nlohmann::json::parse(text, StrictNames{});
    if (!header.is_object()) refuse(kHeader, "it is not a JSON object");
    for (const auto& [name, entry] : header.items()) {
      if (name != kMetadata) located.push_back(read_entry(name, entry));
    }
  } catch (const nlohmann::json::exception& error) {
    refuse(kHeader, error.what());
  }
  std::ranges::sort(located, {}, [](const Located& one) { return std::pair(one.first, one.last); });
  return located;
}

}  // namespace

ForeignTensors read_safetensors(std::span<const std::byte> file) {
  std::uint64_t header_bytes = 0;
  if (file.size() < kLengthBytes) refuse(kHeader, fmt::format("the file has only {} bytes", file.size()));
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  const auto rest = file.subspan(kLengthBytes);
  if (header_bytes > std::min<std::uint64_t>(rest.size(), kLargestHeader)) {
    refuse(kHeader, fmt::format("it cannot have {} bytes", header_bytes));
  }
  const auto header = rest.first(header_bytes);
  const auto data = rest.subspan(header_bytes);
  ForeignTensors tensors(file.size());
  std::uint64_t end = 0;  // of the one before
  for (auto& [tensor, first, last] : read_header({reinterpret_cast<const char*>(header.data()), header.size()})) {
    if (first != end || last < first || last > data.size()) {
      refuse(tensor_text(tensor.name), fmt::format("its bytes {} to {} overlap others, leave a gap, or lie outside of "
                                                   "the file's {}",
                                                   first, last, data.size()));
    }
    end = last;
    tensor.bytes = data.subspan(first, last - first);
    tensors.add(std::move(tensor));
  }
  if (end != data.size()) refuse(kHeader, fmt::format("{} bytes behind the last tensor are none's", data.size() - end));
  return tensors;
}

void write_safetensors(const Checkpoint& checkpoint, std::vector<ExportedTensor> tensors, ExportFile& file) {
  // Larger elements first: each tensor is aligned to its elements then, without gaps, which the format forbids.
  std::ranges::stable_sort(tensors, std::ranges::greater{},
                           [](const ExportedTensor& tensor) { return size_of(tensor.stored->dtype); });
  nlohmann::ordered_json header;
  header[kMetadata] = {{"format", "pt"}};  // without it transformers refuses the file
  std::uint64_t offset = 0;
  for (const ExportedTensor& tensor : tensors) {
    if (tensor.name == kMetadata) {
      throw UsageError({.what = "export of " + tensor.stored->name, .why = "safetensors reserves this name"});
    }
    header[tensor.name] = {{"dtype", name_in_file(tensor.stored->dtype)},
                           {"shape", tensor.stored->shape},
                           {"data_offsets", {offset, offset + tensor.bytes}}};
    offset += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_bytes = text.size();
  file.append(std::as_bytes(std::span(&header_bytes, 1)));
  file.append(std::as_bytes(std::span(text)));
  for_each_tensor(checkpoint, tensors,
                  [&](const ExportedTensor&, std::span<const std::byte> bytes) { file.append(bytes); });
}

}  // namespace lockstep
