// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode/convert.hpp"
#include "lockstep/dataloader/decode.hpp"

namespace lockstep {

using Bytes = std::span<const std::byte>;

// What the decoders of all encodings have in common.
class FieldDecoder : public Decoder {
 public:
  FieldDecoder(FieldInfo info, std::string_view encoding);
  [[nodiscard]] const FieldInfo& delivered() const noexcept final { return info_; }
  [[nodiscard]] std::int64_t rows(Bytes stored) const override;  // 1; ragged fields say theirs

 protected:
  [[noreturn]] void damaged(std::string why) const;       // these bytes are not what was written
  [[noreturn]] void another_form(std::string why) const;  // they are good, but not of this field's form

 private:
  const FieldInfo info_;
  const std::string what_;
};

// What becomes of stored elements.
class Conversion {
 public:
  // `stored`: the name of a DType, or "uint16" or "uint32", which are only stored; the same bytes in the machine's
  // order. Throws UsageError where lockstep does not convert to options.dtype.
  Conversion(std::string_view stored, const FieldOptions& options, std::string_view encoding);
  [[nodiscard]] std::size_t stored_bytes() const noexcept { return stored_bytes_; }  // of one element
  [[nodiscard]] DType delivered() const noexcept { return delivered_; }
  void apply(Bytes stored, std::byte* to) const noexcept;  // `stored`: whole elements

 private:
  std::size_t stored_bytes_;
  DType delivered_;
  Convert* convert_ = nullptr;  // null: the same bytes
  float scale_;
  float offset_;
};

// How many elements are in `shape`, but for a ragged first dimension. Null: negative, or more than the address space
// holds.
[[nodiscard]] std::optional<std::size_t> elements_of(std::span<const std::int64_t> shape) noexcept;

// "field \"speed\" (json)", for messages.
[[nodiscard]] std::string subject(std::string_view name, std::string_view encoding);
[[nodiscard]] std::string text_of(std::span<const std::int64_t> shape);  // "[3, 224, 224]"
[[noreturn]] void refuse(const FieldOptions& options, std::string_view encoding, std::string why, std::string fix);

[[nodiscard]] std::unique_ptr<const Decoder> make_raw_decoder(const StoredField& stored, const FieldOptions& options,
                                                              Bytes example);
[[nodiscard]] std::unique_ptr<const Decoder> make_token_decoder(const StoredField& stored, const FieldOptions& options,
                                                                Bytes example);
[[nodiscard]] std::unique_ptr<const Decoder> make_bytes_decoder(const FieldOptions& options);
[[nodiscard]] std::unique_ptr<const Decoder> make_npy_decoder(const FieldOptions& options, Bytes example);
[[nodiscard]] std::unique_ptr<const Decoder> make_json_decoder(const FieldOptions& options, Bytes example);
[[nodiscard]] std::unique_ptr<const Decoder> make_jpeg_decoder(const FieldOptions& options, Bytes example);
[[nodiscard]] std::unique_ptr<const Decoder> make_png_decoder(const FieldOptions& options, Bytes example);

}  // namespace lockstep
