// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/crc32c.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace lockstep {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(Crc32c, gives_the_published_values) {
  // RFC 3720 B.4 and the check value of the CRC catalogue.
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0})), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xFF})), 0x62A8AB43U);
}

TEST(Crc32c, reference_gives_the_published_values) {
  EXPECT_EQ(crc32c_reference(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c_reference(std::vector<std::byte>(32, std::byte{0})), 0x8A9136AAU);
}

TEST(Crc32c, empty_message_gives_zero_and_keeps_what_came_before) {
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(crc32c({}, 0xE3069283U), 0xE3069283U);
}

TEST(Crc32c, equals_the_reference_at_every_length_and_offset) {
  constexpr std::size_t kBlock = 3 * 128;  // bytes that go through in three streams
  const auto bytes = random_bytes(3 * kBlock + 80);
  for (std::size_t offset = 0; offset < 9; ++offset) {
    for (std::size_t size = 0; size <= 3 * kBlock + 67; size += size < 68 || size % kBlock < 68 ? 1 : 61) {
      const auto part = std::span(bytes).subspan(offset, size);
      ASSERT_EQ(crc32c(part, 0x1234567), crc32c_reference(part, 0x1234567)) << "offset " << offset << ", size " << size;
    }
  }
}

TEST(Crc32c, equals_the_reference_over_many_vectors) {
  constexpr std::size_t kVectors = 256;  // bytes that are folded at a time, from 4,096 on
  const auto bytes = random_bytes(4096 + 2 * kVectors + 70);
  for (std::size_t size = 4096 - 70; size <= bytes.size(); ++size) {
    const auto part = std::span(bytes).first(size);
    ASSERT_EQ(crc32c(part, 0x7654321), crc32c_reference(part, 0x7654321)) << "size " << size;
  }
}

TEST(Crc32c, pieces_give_what_the_whole_gives) {
  const auto bytes = random_bytes(100);
  const auto whole = crc32c(bytes);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const auto first = std::span(bytes).first(cut);
    const auto rest = std::span(bytes).subspan(cut);
    ASSERT_EQ(crc32c(rest, crc32c(first)), whole) << "cut at " << cut;
    ASSERT_EQ(crc32c_reference(rest, crc32c_reference(first)), whole) << "cut at " << cut;
  }
}

TEST(Crc32c, joined_is_that_of_both_messages_whatever_their_lengths) {
  const auto message = random_bytes(70'000);
  const std::span<const std::byte> all(message);
  for (const std::size_t second : {0U, 1U, 2U, 7U, 64U, 4097U, 65'536U, 70'000U}) {
    const auto head = all.first(all.size() - second);
    const auto tail = all.last(second);
    EXPECT_EQ(crc32c_joined(crc32c(head), crc32c(tail), second), crc32c(all)) << second;
  }
}

}  // namespace
}  // namespace lockstep
