// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "decode/decode_detail.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

json parse(Bytes stored) {
  const auto* const text = reinterpret_cast<const char*>(stored.data());
  return json::parse(text, text + stored.size(), nullptr, false);
}

// Null: there is none.
const json* find(const json& document, const json::json_pointer& pointer) {
  try {
    return &document.at(pointer);
  } catch (const json::exception&) {
    return nullptr;
  }
}

// A number or an array of numbers, found by its pointer.
class JsonDecoder final : public FieldDecoder {
 public:
  JsonDecoder(FieldInfo info, json::json_pointer pointer)
      : FieldDecoder(std::move(info), "json"), pointer_(std::move(pointer)) {}

  [[nodiscard]] std::int64_t rows(Bytes stored) const override {
    return delivered().ragged() ? static_cast<std::int64_t>(value_in(stored).size()) : 1;
  }

  void decode(Bytes stored, std::span<std::byte> place) const override {
    const json value = value_in(stored);
    if (!value.is_array()) {
      put(value, place.data());
      return;
    }
    std::byte* to = place.data();
    for (const auto& element : value) {
      put(element, to);
      to += size_of(delivered().dtype);
    }
  }

 private:
  [[nodiscard]] json value_in(Bytes stored) const {
    const json document = parse(stored);
    if (document.is_discarded()) damaged("it is not JSON");
    const json* const found = find(document, pointer_);
    if (found == nullptr) another_form(fmt::format("it has no \"{}\"", pointer_.to_string()));
    const json& value = *found;
    const auto& shape = delivered().shape;
    const bool fits = shape.empty() ? value.is_number()
                                    : value.is_array() && (shape[0] < 0 || std::cmp_equal(value.size(), shape[0]));
    if (!fits) {
      another_form(fmt::format("\"{}\" is {}, not {}", pointer_.to_string(), described(value),
                               shape.empty() ? "a number" : fmt::format("an array {} of numbers", text_of(shape))));
    }
    return value;
  }

  static std::string described(const json& value) {
    return value.is_array() ? fmt::format("an array of {}", value.size()) : fmt::format("a {}", value.type_name());
  }

  void put(const json& value, std::byte* to) const {
    const bool integer = value.is_number_integer() &&
                         (!value.is_number_unsigned() || std::in_range<std::int64_t>(value.get<std::uint64_t>()));
    if (!value.is_number() || (delivered().dtype == DType::int64 && !integer)) {
      another_form(fmt::format("\"{}\" holds {}, which is not a{}", pointer_.to_string(), described(value),
                               delivered().dtype == DType::int64 ? "n integer of 64 bits" : " number"));
    }
    if (delivered().dtype == DType::int64) {
      store(value.get<std::int64_t>(), to);
    } else if (delivered().dtype == DType::float32) {
      store(value.get<float>(), to);
    } else {
      store(value.get<double>(), to);
    }
  }

  template <typename T>
  static void store(T value, std::byte* to) {
    std::memcpy(to, &value, sizeof value);
  }

  const json::json_pointer pointer_;
};

json::json_pointer parse_pointer(const FieldOptions& options) {
  try {
    return json::json_pointer(options.pointer);
  } catch (const json::exception&) {
    refuse(options, "json", fmt::format("\"{}\" is not a JSON pointer", options.pointer),
           "write one as in RFC 6901: \"/ego/speed\"");
  }
}

}  // namespace

std::unique_ptr<const Decoder> make_json_decoder(const FieldOptions& options, Bytes example) {
  const DType dtype = options.dtype.value_or(DType::float64);
  if (dtype != DType::float32 && dtype != DType::float64 && dtype != DType::int64) {
    refuse(options, "json", fmt::format("JSON's numbers are not delivered as {}", name_of(dtype)),
           "ask for float32, float64 or int64");
  }
  if (options.scale != 1.0 || options.offset != 0.0) {
    refuse(options, "json", "scale and offset are for stored elements, not for numbers in text", "leave them out");
  }
  auto pointer = parse_pointer(options);
  std::vector<std::int64_t> shape;
  const json document = parse(example);
  const json* const value = find(document, pointer);
  if (options.ragged) {
    shape = {-1};
  } else if (value != nullptr && value->is_array()) {
    shape = {static_cast<std::int64_t>(value->size())};
  }
  auto decoder = std::make_unique<JsonDecoder>(
      FieldInfo{.name = options.name, .dtype = dtype, .shape = std::move(shape)}, std::move(pointer));
  std::vector<std::byte> scratch(decoder->delivered().row_bytes() * static_cast<std::size_t>(decoder->rows(example)));
  decoder->decode(example, scratch);  // what is wrong with the example is told now
  return decoder;
}

}  // namespace lockstep
