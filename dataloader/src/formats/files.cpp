// SPDX-License-Identifier: Apache-2.0
// A folder of raw files and a manifest.jsonl (docs/dataset_format.md).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "formats/formats.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/mix.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

// JSON within JSON within … needs stack for each level; a manifest needs three of them.
constexpr int kMostDepth = 32;

// One field of one line: a file, or a value that stands in the manifest itself.
struct Item {
  const std::string* file = nullptr;
  const json* value = nullptr;
  std::optional<std::uint32_t> crc{};
};

const std::string& text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) throw DataError({.why = fmt::format("it has no text \"{}\"", key)});
  return found->get_ref<const std::string&>();
}

Item item_of(const json& value) {
  if (value.is_string()) return {.file = &value.get_ref<const std::string&>()};
  if (!value.is_object()) return {.value = &value};
  if (value.contains("value")) return {.value = &value.at("value")};
  Item item{.file = &text_at(value, "file")};
  if (value.contains("crc32c")) {
    const auto& digits = text_at(value, "crc32c");
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), item.crc.emplace(), 16);
    if (error != std::errc{} || end != digits.data() + digits.size() || digits.size() != 8) {
      throw DataError({.why = fmt::format("crc32c \"{}\" is not 8 hex digits", digits)});
    }
  }
  return item;
}

std::string encoding_of_item(const Item& item) { return item.file == nullptr ? "json" : encoding_of(*item.file); }

class FilesReader final : public RecordReader {
 public:
  FilesReader(std::shared_ptr<const BlobStore> store, const RecordOptions& options)
      : store_(std::move(store)), manifest_(store_->open(kManifest)), text_(manifest_->view(0, manifest_->size())) {
    find_lines();
    if (lines_.empty()) fail(0, "there is no line in it");
    shard_samples_ = {samples()};
    choose_fields(options.fields);
    for (std::int64_t sample = 0; sample < samples(); ++sample) check_line(sample);
  }

  [[nodiscard]] std::int64_t samples() const noexcept override { return static_cast<std::int64_t>(lines_.size()); }
  [[nodiscard]] const std::vector<std::int64_t>& shard_samples() const noexcept override { return shard_samples_; }
  // The manifest alone: files without a checksum in it may change unseen.
  [[nodiscard]] std::string fingerprint() const override {
    return fmt::format("{:016x}", mix_bits(std::uint64_t{crc32c(text_.bytes)} << 32U ^ manifest_->size()));
  }
  [[nodiscard]] const std::vector<StoredField>& fields() const noexcept override { return fields_; }

  void read(std::int64_t sample, Record& record) const override {
    const json line = parse(sample);
    record.fields.assign(fields_.size(), {});
    record.keeps.clear();
    std::string values;  // those of all inline fields, one after the other
    std::vector<std::size_t> sizes(fields_.size());
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      const auto found = line.find(fields_[i].name);
      if (found == line.end()) continue;
      const Item item = item_of(*found);
      if (item.file != nullptr) {
        record.fields[i] = read_file(sample, i, item, record);
      } else {
        const auto before = values.size();
        values += item.value->dump();
        sizes[i] = values.size() - before;
      }
    }
    const auto bytes = std::as_bytes(std::span(values));
    record.buffer.assign(bytes.begin(), bytes.end());
    std::size_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] > 0) record.fields[i] = std::span(record.buffer).subspan(at, sizes[i]);
      at += sizes[i];
    }
  }

  [[nodiscard]] std::string describe(std::int64_t sample) const override {
    return fmt::format("{}, sample {}", kManifest, sample);
  }

  static constexpr const char* kManifest = "manifest.jsonl";

 private:
  struct Line {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  [[noreturn]] void fail(std::int64_t sample, std::string why) const {
    throw DataError({.what = fmt::format("{}, sample {}", manifest_->name(), sample),
                     .why = std::move(why),
                     .fix = "write one JSON object a line, field name to file name or value, alike in all lines"});
  }

  void find_lines() {
    const std::string_view text(reinterpret_cast<const char*>(text_.bytes.data()), text_.bytes.size());
    for (std::size_t begin = 0; begin < text.size();) {
      const auto end = std::min(text.find('\n', begin), text.size());
      if (text.substr(begin, end - begin).find_first_not_of(" \t\r") != std::string_view::npos) {
        lines_.push_back({begin, end - begin});
      }
      begin = end + 1;
    }
  }

  [[nodiscard]] json parse(std::int64_t sample) const {
    if (sample < 0 || sample >= samples()) {
      throw UsageError({.what = fmt::format("sample {} of {}", sample, manifest_->name()),
                        .why = fmt::format("there are {} samples", samples())});
    }
    const auto& line = lines_[static_cast<std::size_t>(sample)];
    const auto bytes = text_.bytes.subspan(line.offset, line.bytes);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const auto shallow = [](int depth, json::parse_event_t /*event*/, json& /*parsed*/) {
      if (depth > kMostDepth) throw DataError({.why = "its values are nested too deeply"});
      return true;
    };
    json parsed;
    try {
      parsed = json::parse(text, shallow);
    } catch (const json::exception& error) {
      fail(sample, error.what());
    } catch (const DataError& error) {
      fail(sample, error.text().why);
    }
    if (!parsed.is_object()) fail(sample, "the line is not a JSON object");
    return parsed;
  }

  void choose_fields(const std::vector<std::string>& wanted) {
    const json first = parse(0);
    required_ = !wanted.empty();
    std::vector<std::string> names = wanted;
    if (!required_) {
      for (const auto& entry : first.items()) names.push_back(entry.key());
    }
    for (const auto& name : names) {
      if (!first.contains(name)) fail(0, fmt::format("it does not have the field \"{}\"", name));
      fields_.push_back({.name = name, .encoding = encoding_in(first, 0, name)});
    }
  }

  [[nodiscard]] std::string encoding_in(const json& line, std::int64_t sample, const std::string& name) const {
    try {
      return encoding_of_item(item_of(line.at(name)));
    } catch (const DataError& error) {
      fail(sample, fmt::format("field \"{}\": {}", name, error.text().why));
    }
  }

  // Now, so that a mistake in the manifest does not end a run in the middle.
  void check_line(std::int64_t sample) const {
    const json line = parse(sample);
    for (const auto& field : fields_) {
      if (!line.contains(field.name)) {
        if (required_) fail(sample, fmt::format("it does not have the field \"{}\"", field.name));
      } else if (const auto encoding = encoding_in(line, sample, field.name); encoding != field.encoding) {
        fail(sample,
             fmt::format("field \"{}\" is {}, in the first sample it is {}", field.name, encoding, field.encoding));
      }
    }
  }

  std::span<const std::byte> read_file(std::int64_t sample, std::size_t field, const Item& item, Record& record) const {
    try {
      const auto blob = store_->open(*item.file);
      auto view = blob->view(0, blob->size());
      const auto is_good = [&] { return !item.crc || crc32c(view.bytes) == *item.crc; };
      if (!is_good() && blob->refetch(0, blob->size())) view = blob->view(0, blob->size());
      if (!is_good()) {
        throw DataError({.why = fmt::format("CRC-32C {:08x}, expected {:08x}", crc32c(view.bytes), *item.crc)});
      }
      record.keeps.push_back(blob);
      if (view.keeps) record.keeps.push_back(view.keeps);
      return view.bytes.empty() ? std::span(&kNothing, 0) : view.bytes;
    } catch (const DataError& error) {  // also if the file is missing
      throw DamagedSample(
          {.what = fmt::format("{}, field \"{}\", file {}", describe(sample), fields_[field].name, *item.file),
           .why = error.text().why,
           .fix = "copy the file again"});
    }
  }

  static constexpr std::byte kNothing{};

  const std::shared_ptr<const BlobStore> store_;
  const std::shared_ptr<const Blob> manifest_;
  const BlobView text_;
  std::vector<Line> lines_;
  std::vector<StoredField> fields_;
  bool required_ = false;
  std::vector<std::int64_t> shard_samples_;
};

}  // namespace

bool has_manifest(const BlobStore& store) { return store.contains(FilesReader::kManifest); }

std::unique_ptr<const RecordReader> open_files(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  return std::make_unique<FilesReader>(std::move(store), options);
}

}  // namespace lockstep
