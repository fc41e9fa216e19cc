// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <utility>
#include <vector>

#include "decode/decode_detail.hpp"
#include "decode/image.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::int64_t kMostPixelsPerByte = 8 * 1032;  // one bit a pixel, and deflate's best
constexpr png_uint_32 kMostPixelsOfASide = 1'000'000;

struct Header {
  ImageSize size;
  int bits = 8;
  bool colour = false;
};

// One image of libpng, which reports errors as libjpeg does (decode_jpeg.cpp): no function between setjmp and libpng
// may own anything.
class PngReader {
 public:
  explicit PngReader(Bytes file) : rest_(file) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  // False: see message().
  [[nodiscard]] bool read_header(Header& header) {
    if (setjmp(back_) != 0) return false;
    png_set_user_limits(png_, kMostPixelsOfASide, kMostPixelsOfASide);
    png_set_read_fn(png_, this, on_read);
    png_read_info(png_, info_);
    const int colours = png_get_color_type(png_, info_);
    header = {.size = {.height = png_get_image_height(png_, info_), .width = png_get_image_width(png_, info_)},
              .bits = png_get_bit_depth(png_, info_) == 16 ? 16 : 8,
              .colour = (colours & PNG_COLOR_MASK_COLOR) != 0};
    return true;
  }

  // After read_header: rows of pixels of pixel_elements elements, in the machine's order of bytes. False: see
  // message().
  [[nodiscard]] bool read_rows(int pixel_elements, std::span<png_bytep> rows, std::size_t row_bytes) {
    if (setjmp(back_) != 0) return false;
    png_set_expand(png_);  // palette to colours, 1 to 4 bits to 8
    png_set_strip_alpha(png_);
    png_set_swap(png_);  // of 16 bits
    if (pixel_elements > 1) png_set_gray_to_rgb(png_);
    if (pixel_elements == 4) png_set_filler(png_, 0, PNG_FILLER_AFTER);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "rows of another length");
    png_read_image(png_, rows.data());
    png_read_end(png_, nullptr);
    return true;
  }

  [[nodiscard]] const char* message() const { return message_.data(); }

 private:
  static PngReader& self(png_structp png) { return *static_cast<PngReader*>(png_get_error_ptr(png)); }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    PngReader& reader = self(png);
    std::strncpy(reader.message_.data(), message, reader.message_.size() - 1);
    std::longjmp(reader.back_, 1);
  }

  static void on_read(png_structp png, png_bytep to, std::size_t bytes) {
    PngReader& reader = self(png);
    if (bytes > reader.rest_.size()) png_error(png, "the file ends too early");
    std::memcpy(to, reader.rest_.data(), bytes);
    reader.rest_ = reader.rest_.subspan(bytes);
  }

  Bytes rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf back_{};
  std::array<char, 128> message_{};
};

class PngDecoder final : public FieldDecoder {
 public:
  PngDecoder(const std::string& name, const ImageForm& form, int bits)
      : FieldDecoder(form.info(name), "png"), form_(form), bits_(bits) {}

  void decode(Bytes stored, std::span<std::byte> place) const override {
    PngReader reader(stored);
    Header header;
    if (!reader.read_header(header)) damaged(reader.message());
    if (auto problem = form_.problem(header.size); !problem.empty()) another_form(std::move(problem));
    if (auto problem = size_problem(header.size, stored.size(), kMostPixelsPerByte); !problem.empty()) {
      damaged(std::move(problem));
    }
    if (header.bits != bits_ || (header.colour && form_.channels() == 1)) {
      another_form(fmt::format("the image is {} with {} bits, the field's are {} with {} bits",
                               header.colour ? "coloured" : "grey", header.bits,
                               form_.channels() == 1 ? "grey" : "coloured", bits_));
    }
    const std::size_t pixel_bytes = static_cast<std::size_t>(form_.pixel_elements() * bits_ / 8);
    const std::size_t row_bytes = static_cast<std::size_t>(header.size.width) * pixel_bytes;
    // The whole image: an interlaced one comes in passes.
    std::vector<png_byte> pixels(static_cast<std::size_t>(header.size.height) * row_bytes);
    std::vector<png_bytep> rows(static_cast<std::size_t>(header.size.height));
    for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = pixels.data() + row * row_bytes;
    if (!reader.read_rows(form_.pixel_elements(), rows, row_bytes)) damaged(reader.message());
    const Region& part = form_.part();
    for (std::int64_t row = 0; row < part.height; ++row) {
      form_.put_row(rows[static_cast<std::size_t>(part.top + row)] + static_cast<std::size_t>(part.left) * pixel_bytes,
                    row, place);
    }
  }

 private:
  const ImageForm form_;
  const int bits_;
};

}  // namespace

std::unique_ptr<const Decoder> make_png_decoder(const FieldOptions& options, Bytes example) {
  PngReader reader(example);
  Header header;
  std::string problem =
      reader.read_header(header) ? size_problem(header.size, example.size(), kMostPixelsPerByte) : reader.message();
  if (!problem.empty()) {
    throw DamagedSample({.what = subject(options.name, "png"), .why = problem, .fix = "get the file again"});
  }
  if (header.colour && options.channels == 1) {
    refuse(options, "png", "coloured images are not delivered as grey", "ask for channels = 3, or store them in grey");
  }
  return std::make_unique<PngDecoder>(options.name, ImageForm(options, "png", header.size, header.bits), header.bits);
}

}  // namespace lockstep
