// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "comm/gpu/kernel_cases.hpp"
#include "gpu/libraries.hpp"
#include "gpu/reference.hpp"
#include "kernels.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {
namespace {

using lockstep::testing::Bytes;
using lockstep::testing::CopyCase;
using lockstep::testing::ReduceCase;
using lockstep::testing::UnscaleCase;

std::string why_no_kernels() {
  try {
    CudaApi& cuda = *load_libraries().cuda;
    if (const CudaStatus status = cuda.bind(0); status != CudaStatus::success) return cuda.text(status);
    return cuda.has_kernels() ? "" : "the kernels were not compiled for this GPU";
  } catch (const Error& error) {
    std::string why = error.what();
    std::replace(why.begin(), why.end(), '\n', ' ');
    return why;
  }
}

// Our kernels on GPU 0, each call beside its reference.
class KernelsOnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    static const std::string why = why_no_kernels();
    if (!why.empty()) GTEST_SKIP() << why;
    cuda_ = load_libraries().cuda;
    ASSERT_EQ(cuda_->bind(0), CudaStatus::success);
    ASSERT_EQ(cuda_->create_stream(stream_), CudaStatus::success);
    ASSERT_EQ(cuda_->create_event(done_), CudaStatus::success);
  }

  void TearDown() override {
    if (cuda_ == nullptr) return;
    resize(0);
    EXPECT_EQ(cuda_->destroy_event(done_), CudaStatus::success);
    EXPECT_EQ(cuda_->destroy_stream(stream_), CudaStatus::success);
  }

  // `call(image on the device)` queues a kernel; what it makes of `image`.
  template <class Call>
  [[nodiscard]] Bytes on_device(const Bytes& image, const Call& call) {
    if (image.size() > bytes_) resize(image.size());
    std::copy(image.begin(), image.end(), pinned_);
    check(cuda_->copy(device_, pinned_, image.size(), stream_));
    check(call(device_));
    check(cuda_->copy(pinned_, device_, image.size(), stream_));
    check(cuda_->record(done_, stream_));
    CudaStatus status = CudaStatus::not_ready;
    while (status == CudaStatus::not_ready) status = cuda_->query(done_);
    check(status);
    return {pinned_, pinned_ + image.size()};
  }

  void compare(const ReduceCase& test, const std::string& name) {
    Bytes expected = test.image();
    const Bytes got =
        on_device(expected, [&](std::byte* image) { return cuda_->reduce_slices(test.call(image), stream_); });
    reference_reduce_slices(test.call(expected.data()));
    ASSERT_TRUE(got == expected) << name << ", " << test.elements
                                 << " elements, behind 16 bytes: " << test.offset_bytes;
  }

  void compare(const CopyCase& test, double scale, bool add) {
    Bytes expected = test.image();
    const Bytes got = on_device(
        expected, [&](std::byte* image) { return cuda_->scaled_copy(test.copies(image), scale, add, stream_); });
    reference_scaled_copy(test.copies(expected.data()), scale, add);
    ASSERT_TRUE(got == expected) << name_of(test.from) << " to " << name_of(test.to) << " · " << scale
                                 << (add ? ", added" : "");
  }

  UnscaleCase::Results compare(const UnscaleCase& test) {
    Bytes expected = test.image(0.3F);
    Bytes got = on_device(expected, [&](std::byte* image) {
      const auto ranges = test.ranges(image);
      return cuda_->unscale(test.call(image, ranges), stream_);
    });
    const auto ranges = test.ranges(expected.data());
    reference_unscale(test.call(expected.data(), ranges));
    UnscaleCase::forget_scratch(expected);
    UnscaleCase::forget_scratch(got);
    EXPECT_TRUE(got == expected) << "finite: " << test.finite << ", behind 16 bytes: " << test.offset_bytes;
    return UnscaleCase::results(got);
  }

  void check(CudaStatus status) const { ASSERT_EQ(status, CudaStatus::success) << cuda_->text(status); }

  CudaApi* cuda_ = nullptr;
  Stream stream_ = nullptr;

 private:
  void resize(std::size_t bytes) {
    if (bytes_ > 0) {
      check(cuda_->free(device_));
      check(cuda_->free_pinned(pinned_));
    }
    bytes_ = bytes;
    if (bytes_ == 0) return;
    check(cuda_->allocate(device_, bytes_));
    check(cuda_->allocate_pinned(pinned_, bytes_));
  }

  Event done_ = nullptr;
  std::size_t bytes_ = 0;
  std::byte* device_ = nullptr;
  std::byte* pinned_ = nullptr;
};

std::vector<int> one_leaf_each(int ranks) {
  std::vector<Partial> partials;
  for (int rank = 0; rank < ranks; ++rank) partials.push_back({.first_leaf = rank, .leaves = 1});
  return combines_after(partials, ranks);
}

TEST_F(KernelsOnDevice, reduce_slices_to_the_references_bits_in_every_plan) {
  lockstep::testing::for_every_reduction([&](const ReduceCase& test, const std::string& name) { compare(test, name); });
}

TEST_F(KernelsOnDevice, reduce_slices_to_the_references_bits_at_every_size_and_alignment) {
  for (const DType dtype : lockstep::testing::kDTypes) {
    const ReduceOp op = dtype == DType::boolean ? ReduceOp::bit_xor : ReduceOp::sum;
    for (std::size_t offset = 0; offset < 16; offset += size_of(dtype)) {
      for (std::int64_t elements = 0; elements < 50; ++elements)
        compare(ReduceCase{dtype, op, one_leaf_each(3), elements, 0, offset}, std::string(name_of(dtype)));
    }
  }
}

TEST_F(KernelsOnDevice, reduce_more_elements_than_threads) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const int ranks : {2, 9})  // without a stack, and with one
      compare(ReduceCase{dtype, ReduceOp::sum, one_leaf_each(ranks), 5'000'001}, std::string(name_of(dtype)));
  }
}

TEST_F(KernelsOnDevice, reduce_the_most_inputs_and_refuse_more) {
  const int most = static_cast<int>(kMostInputs);
  compare(ReduceCase{DType::float16, ReduceOp::sum, one_leaf_each(most), 203}, "1024 inputs");
  const ReduceCase too_many{DType::float16, ReduceOp::sum, one_leaf_each(most + 1), 203};
  std::byte nothing{};
  EXPECT_NE(cuda_->reduce_slices(too_many.call(&nothing), stream_), CudaStatus::success);
}

TEST_F(KernelsOnDevice, copy_scaled_to_the_references_bits_between_all_floats) {
  for (const DType from : lockstep::testing::kFloats) {
    for (const DType to : lockstep::testing::kFloats) {
      for (const double scale : {1.0, 0.3, -65536.0}) {
        compare(CopyCase{from, to}, scale, false);
        compare(CopyCase{from, to}, scale, true);
      }
    }
  }
}

TEST_F(KernelsOnDevice, unscale_to_the_references_bits_and_norm) {
  EXPECT_EQ(compare(UnscaleCase{.finite = true}).non_finite, 0.0F);
  EXPECT_EQ(compare(UnscaleCase{.finite = false}).non_finite, 1.0F);
}

TEST_F(KernelsOnDevice, unscale_to_equal_norms_wherever_the_ranges_lie) {
  EXPECT_EQ(compare(UnscaleCase{.offset_bytes = 0}).squared_norm, compare(UnscaleCase{.offset_bytes = 8}).squared_norm);
}

}  // namespace
}  // namespace lockstep::comm::gpu
