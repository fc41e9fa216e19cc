// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <cstring>
#include <utility>

#include <jpeglib.h>
// After jpeglib.h.
#include <jerror.h>

#include "decode/decode_detail.hpp"
#include "decode/image.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

// A Huffman code has at least one bit for a block of 64 pixels; arithmetic coding has less.
constexpr std::int64_t kMostPixelsPerByte = 1024;
constexpr long kMostMemory = 1L << 30;  // bytes that libjpeg keeps for a progressive image
// Smoothing chroma at the edge of a cropped row lacks its neighbours: as many columns more are decoded on each side.
constexpr std::int64_t kMargin = 16;
// libjpeg-turbo (2.1.5, jdcolext-avx2.asm) writes rows that are aligned to vectors around the caches. That is right for
// an image that no cache holds until the batch is used: decoded straight into the batch it costs a tenth less. A
// smaller one decodes a tenth to a sixth faster by way of a row in the cache.
constexpr std::size_t kLarge = 2 << 20;  // bytes of an image

// Which warnings mean that pixels are lost. libjpeg goes on with grey after them.
bool loses_pixels(int warning) {
  constexpr std::array kLosses{JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_ARITH_BAD_CODE,
                               JWRN_MUST_RESYNC};
  return std::ranges::find(kLosses, warning) != kLosses.end();
}

// libjpeg reports errors by a call that must not return: it jumps back into the function of Decompressor that called
// libjpeg. No function between may own anything; those of Decompressor hold nothing that has a destructor.
struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf back;
  std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void jump_back(j_common_ptr info) {
  auto* const errors = reinterpret_cast<Errors*>(info->err);
  errors->base.format_message(info, errors->message.data());
  std::longjmp(errors->back, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level < 0 && loses_pixels(info->err->msg_code)) jump_back(info);
}

void no_output(j_common_ptr /*info*/) {}

// A progressive image that says next to nothing in each of many scans would cost hours.
void limit_scans(j_common_ptr info) {
  constexpr int kMostScans = 200;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto* const errors = reinterpret_cast<Errors*>(info->err);
  std::strncpy(errors->message.data(), "it has more than 200 scans", errors->message.size());
  std::longjmp(errors->back, 1);
}

// One decompressor of libjpeg. Reused, because to make one costs more than some images.
class Decompressor {
 public:
  Decompressor() {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = jump_back;
    errors_.base.emit_message = on_message;
    errors_.base.output_message = no_output;
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() { jpeg_destroy_decompress(&info_); }

  // False: see message().
  [[nodiscard]] bool read_header(Bytes file) {
    if (setjmp(errors_.back) != 0) return false;
    if (info_.mem == nullptr) {
      jpeg_create_decompress(&info_);
      info_.mem->max_memory_to_use = kMostMemory;
      progress_.progress_monitor = limit_scans;
      info_.progress = &progress_;
    }
    jpeg_abort_decompress(&info_);  // whatever the last image left
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  // After read_header: decodes the form's part into `place`. False: see message().
  [[nodiscard]] bool read_pixels(const ImageForm& form, std::span<std::byte> place) {
    if (setjmp(errors_.back) != 0) return false;
    info_.out_color_space = form.channels() == 1 ? JCS_GRAYSCALE : form.pixel_elements() == 4 ? JCS_EXT_RGBX : JCS_RGB;
    info_.scale_num = 1;
    info_.scale_denom = static_cast<unsigned>(form.shrink());
    jpeg_start_decompress(&info_);
    const Region& part = form.part();
    const auto skipped = skip_to(part);
    const bool straight = form.straight() && std::cmp_equal(info_.output_width, part.width) && place.size() >= kLarge;
    if (!straight) row_ = new_row(info_.output_width);
    for (std::int64_t row = 0; row < part.height; ++row) {
      JSAMPLE* to = straight ? reinterpret_cast<JSAMPLE*>(form.row_place(place, row)) : row_;
      jpeg_read_scanlines(&info_, &to, 1);
      if (!straight) form.put_row(row_ + skipped * form.pixel_elements(), row, place);
    }
    // To the end of the image only where we are there: what follows the region costs nothing, and is not looked at.
    if (info_.output_scanline == info_.output_height) jpeg_finish_decompress(&info_);
    return true;
  }

  [[nodiscard]] ImageSize size() const { return {.height = info_.image_height, .width = info_.image_width}; }
  // Whether libjpeg turns its colours into grey and into red, green, blue.
  [[nodiscard]] bool converts() const {
    const auto space = info_.jpeg_color_space;
    return space == JCS_GRAYSCALE || space == JCS_YCbCr || space == JCS_RGB;
  }
  [[nodiscard]] const char* message() const { return errors_.message.data(); }

 private:
  // Moves to the first row and near the first column of `part`; returns how far that column is into the rows to come.
  std::int64_t skip_to(const Region& part) {
    std::int64_t skipped = 0;
    if (std::cmp_less(part.width, info_.output_width)) {
      const auto left = static_cast<JDIMENSION>(std::max<std::int64_t>(part.left - kMargin, 0));
      const auto right = std::min<std::int64_t>(part.left + part.width + kMargin, info_.output_width);
      JDIMENSION first = left;
      auto width = static_cast<JDIMENSION>(right) - left;
      jpeg_crop_scanline(&info_, &first, &width);  // moves `first` left to the start of a block
      skipped = part.left - first;
    }
    if (part.top > 0) jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(part.top));
    return skipped;
  }

  // In libjpeg's pool, which goes with the image. Not aligned to vectors, so that it is written into the cache: reading
  // it back took as long as decoding.
  JSAMPLE* new_row(JDIMENSION pixels) {
    constexpr std::size_t kOffAlignment = 8;
    const std::size_t bytes = std::size_t{pixels} * static_cast<std::size_t>(info_.output_components);
    void* const row =
        info_.mem->alloc_large(reinterpret_cast<j_common_ptr>(&info_), JPOOL_IMAGE, bytes + kOffAlignment);
    return static_cast<JSAMPLE*>(row) + kOffAlignment;
  }

  jpeg_decompress_struct info_{};
  Errors errors_{};
  jpeg_progress_mgr progress_{};
  JSAMPLE* row_ = nullptr;
};

Decompressor& of_this_thread() {
  thread_local Decompressor decompressor;
  return decompressor;
}

class JpegDecoder final : public FieldDecoder {
 public:
  JpegDecoder(const std::string& name, const ImageForm& form) : FieldDecoder(form.info(name), "jpg"), form_(form) {}

  void decode(Bytes stored, std::span<std::byte> place) const override {
    auto& decompressor = of_this_thread();
    if (!decompressor.read_header(stored)) damaged(decompressor.message());
    if (auto problem = form_.problem(decompressor.size()); !problem.empty()) another_form(std::move(problem));
    if (auto problem = size_problem(decompressor.size(), stored.size(), kMostPixelsPerByte); !problem.empty()) {
      damaged(std::move(problem));
    }
    if (!decompressor.converts()) another_form("its colours are neither grey, YCbCr nor RGB (CMYK?)");
    if (!decompressor.read_pixels(form_, place)) damaged(decompressor.message());
  }

 private:
  const ImageForm form_;
};

}  // namespace

std::unique_ptr<const Decoder> make_jpeg_decoder(const FieldOptions& options, Bytes example) {
  auto& decompressor = of_this_thread();
  std::string problem;
  if (!decompressor.read_header(example)) {
    problem = decompressor.message();
  } else {
    problem = size_problem(decompressor.size(), example.size(), kMostPixelsPerByte);
  }
  if (!problem.empty()) {
    throw DamagedSample({.what = subject(options.name, "jpg"), .why = problem, .fix = "get the file again"});
  }
  return std::make_unique<JpegDecoder>(options.name, ImageForm(options, "jpg", decompressor.size(), 8));
}

}  // namespace lockstep
