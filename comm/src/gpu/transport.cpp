// SPDX-License-Identifier: Apache-2.0
#include "transport.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "lockstep/base/environment.hpp"

namespace lockstep::comm::gpu {
namespace {

template <std::size_t size>
void write(std::string_view text, std::array<char, size>& to) {
  std::copy_n(text.begin(), std::min(text.size(), size), to.begin());
}

template <std::size_t size>
std::string_view text_in(const std::array<char, size>& from) {
  return {from.begin(), std::find(from.begin(), from.end(), '\0')};
}

std::string in_words(int version) {
  return fmt::format("{}.{}.{}", version / 10'000, version / 100 % 100, version % 100);
}

// Why NCCL would refuse two ranks on one GPU, or nothing.
std::string why_not_together(const TransportFacts& a, const TransportFacts& b) {
  if (std::min(a.nccl_version, b.nccl_version) >= kVersionWithSharedGpus) {
    if (a.shares != 0 && b.shares != 0) return {};
    return fmt::format("NCCL {} takes several ranks on one only with NCCL_MULTI_RANK_GPU_ENABLE=1",
                       in_words(b.nccl_version));
  }
  if (a.host[0] != '\0' && b.host[0] != '\0' && a.host != b.host) return {};
  return fmt::format("NCCL {} takes several ranks on one only with a different NCCL_HOSTID for each",
                     in_words(b.nccl_version));
}

}  // namespace

TransportFacts own_transport_facts(const Device& device) {
  TransportFacts facts;
  write(device.facts().uuid, facts.uuid);
  write(environment_variable("NCCL_HOSTID").value_or(""), facts.host);
  if (const NcclApi* const nccl = device.nccl()) facts.nccl_version = nccl->versions().loaded;
  facts.kernels = device.cuda().has_kernels() ? 1 : 0;
  facts.shares = environment_variable("NCCL_MULTI_RANK_GPU_ENABLE") == "1" ? 1 : 0;
  return facts;
}

GpuTransportChoice choose(std::span<const TransportFacts> facts) {
  const auto staged = [](std::string why) {
    return GpuTransportChoice{.transport = GpuTransport::staged, .why = std::move(why)};
  };
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    const TransportFacts& own = facts[rank];
    if (own.nccl_version == 0) return staged(fmt::format("rank {} has no NCCL", rank));
    if (own.kernels == 0)
      return staged(fmt::format("rank {} has no lockstep kernels for its GPU, which sums over NCCL need", rank));
    for (std::size_t before = 0; before < rank; ++before) {
      if (own.uuid != facts[before].uuid) continue;
      const std::string why = why_not_together(facts[before], own);
      if (why.empty()) continue;
      return staged(fmt::format("ranks {} and {} share the GPU {}: {}", before, rank, text_in(own.uuid), why));
    }
  }
  return {};
}

}  // namespace lockstep::comm::gpu
