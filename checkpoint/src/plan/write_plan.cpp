// SPDX-License-Identifier: Apache-2.0
#include "plan/write_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "format/manifest.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

// How far a cut may be moved to the end of a tensor, as a part of the mean that a rank writes. Two cuts bound a rank's
// share, so it may be off by twice as much.
constexpr double kCutTolerance = 0.02;

[[noreturn]] void refuse(const std::string& name, const std::string& why, const std::string& fix) {
  throw UsageError({.what = fmt::format("save {}", name), .why = why, .fix = fix});
}

std::int64_t elements_of(const HeldSlice& slice) {
  const auto bytes = bytes_of(slice.dtype, slice.global_shape);
  if (!bytes) {
    refuse(slice.name, fmt::format("its shape is [{}]", fmt::join(slice.global_shape, ", ")),
           "give dimensions of at least 0 whose product fits in 63 bits");
  }
  return static_cast<std::int64_t>(*bytes / size_of(slice.dtype));
}

void check_slice(const HeldSlice& slice) {
  if (!is_dataset_name(slice.name)) {
    refuse(fmt::format("\"{}\"", slice.name), "it is not an HDF5 path", "use a name such as \"/model/conv1.weight\"");
  }
  if (is_blob_name(slice.name)) refuse(slice.name, "names below /blobs are those of blobs", "use another name");
  const std::int64_t elements = elements_of(slice);
  if (slice.first_element < 0 || slice.elements < 0 || slice.first_element > elements - slice.elements) {
    refuse(slice.name,
           fmt::format("the slice has {} elements from {} on, of {}", slice.elements, slice.first_element, elements),
           "give a run of elements of the tensor");
  }
}

// A slice and the rank that holds it.
struct Holding {
  int rank = 0;
  const HeldSlice* slice = nullptr;
};

using HoldingsByName = std::map<std::string_view, std::vector<Holding>>;

HoldingsByName by_name(std::span<const std::vector<HeldSlice>> held) {
  HoldingsByName tensors;
  for (std::size_t rank = 0; rank < held.size(); ++rank) {
    for (const HeldSlice& slice : held[rank]) {
      check_slice(slice);
      tensors[slice.name].push_back({static_cast<int>(rank), &slice});
    }
  }
  return tensors;
}

// HDF5 keeps datasets in a tree of groups, in which a dataset has nothing below it.
void check_tree(const HoldingsByName& tensors) {
  for (const auto& [name, holdings] : tensors) {
    for (auto slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (!tensors.contains(name.substr(0, slash))) continue;
      refuse(std::string(name), fmt::format("it lies below {}, which is no group", name.substr(0, slash)),
             "rename one of the two");
    }
  }
}

void check_agree(const std::vector<Holding>& holdings) {
  const Holding& first = holdings.front();
  for (const Holding& other : holdings) {
    const HeldSlice& a = *first.slice;
    const HeldSlice& b = *other.slice;
    if (a.dtype == b.dtype && a.global_shape == b.global_shape) continue;
    refuse(a.name,
           fmt::format("rank {} has {} [{}], rank {} {} [{}]", first.rank, name_of(a.dtype),
                       fmt::join(a.global_shape, ", "), other.rank, name_of(b.dtype), fmt::join(b.global_shape, ", ")),
           "give it the same dtype and shape on every rank");
  }
}

// Cuts the tensor where any slice begins or ends; each part has the ranks that hold it. Writers come later.
std::vector<WritePlan::Piece> parts_of(std::vector<Holding> holdings) {
  const HeldSlice& any = *holdings.front().slice;
  const std::int64_t elements = elements_of(any);
  std::vector<std::int64_t> cuts{0, elements};
  for (const Holding& holding : holdings) {
    cuts.push_back(holding.slice->first_element);
    cuts.push_back(holding.slice->first_element + holding.slice->elements);
  }
  std::ranges::sort(cuts);
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::ranges::sort(holdings, {}, &Holding::rank);

  std::vector<WritePlan::Piece> parts;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    WritePlan::Piece part{.first_element = cuts[i], .elements = cuts[i + 1] - cuts[i]};
    for (const auto& [rank, slice] : holdings) {
      const bool holds =
          slice->first_element <= cuts[i] && cuts[i + 1] <= slice->first_element + slice->elements && part.elements > 0;
      if (!holds) continue;
      if (!part.holders.empty() && part.holders.back() == rank) {
        refuse(any.name, fmt::format("rank {} gives elements {} to {} twice", rank, cuts[i], cuts[i + 1] - 1),
               "give slices that do not overlap");
      }
      part.holders.push_back(rank);
    }
    if (part.holders.empty()) {
      refuse(any.name, fmt::format("no rank holds its elements {} to {}", cuts[i], cuts[i + 1] - 1),
             "give slices that together cover the tensor");
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

// Parts that the same ranks hold, in the order of the plan.
struct Shared {
  std::vector<int> holders;
  std::vector<std::pair<std::size_t, std::size_t>> parts;  // (tensor, part)
  double bytes = 0;
};

// What each holder is to write of `bytes`, so that the lowest of `loads` rise to one level.
std::vector<double> quotas(const Shared& shared, const std::vector<double>& loads) {
  std::vector<double> levels;
  for (const int rank : shared.holders) levels.push_back(loads[static_cast<std::size_t>(rank)]);
  std::ranges::sort(levels);
  double level = levels[0];
  double left = shared.bytes;
  for (std::size_t n = 1; n <= levels.size(); ++n) {
    const double next = n < levels.size() ? levels[n] : INFINITY;
    const double room = (next - level) * static_cast<double>(n);
    if (room >= left) {
      level += left / static_cast<double>(n);
      break;
    }
    left -= room;
    level = next;
  }
  std::vector<double> result;
  for (const int rank : shared.holders) result.push_back(std::max(0.0, level - loads[static_cast<std::size_t>(rank)]));
  return result;
}

class Distribution {
 public:
  Distribution(WritePlan& plan, int world_size) : plan_(plan), loads_(static_cast<std::size_t>(world_size)) {}

  void run() {
    std::map<std::vector<int>, Shared> sets;
    double all = 0;
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      for (std::size_t p = 0; p < plan_.tensors[t].pieces.size(); ++p) {
        const WritePlan::Piece& part = plan_.tensors[t].pieces[p];
        Shared& shared = sets[part.holders];
        shared.parts.emplace_back(t, p);
        shared.bytes += bytes(t, part.elements);
        all += bytes(t, part.elements);
      }
    }
    tolerance_ = kCutTolerance * all / static_cast<double>(loads_.size());
    std::vector<Shared*> order;  // those with the least choice first
    for (auto& [holders, shared] : sets) {
      shared.holders = holders;
      order.push_back(&shared);
    }
    std::ranges::stable_sort(order, {}, [](const Shared* shared) { return shared->holders.size(); });
    cut_pieces_.resize(plan_.tensors.size());
    for (const Shared* shared : order) spread(*shared);
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      std::ranges::sort(cut_pieces_[t], {}, &WritePlan::Piece::first_element);
      plan_.tensors[t].pieces = std::move(cut_pieces_[t]);
    }
  }

 private:
  [[nodiscard]] double bytes(std::size_t tensor, std::int64_t elements) const {
    return static_cast<double>(elements) * static_cast<double>(size_of(plan_.tensors[tensor].dtype));
  }

  void give(std::size_t t, WritePlan::Piece piece) {
    if (piece.elements == 0) return;
    loads_[static_cast<std::size_t>(piece.writer)] += bytes(t, piece.elements);
    cut_pieces_[t].push_back(std::move(piece));
  }

  // Lays the parts one behind the other and cuts where a holder has its quota, or at a part's end nearby.
  void spread(const Shared& shared) {
    const std::vector<double> share = quotas(shared, loads_);
    std::size_t holder = 0;
    double end = share[0];  // of the present holder's share
    double at = 0;
    const auto is_last = [&] { return holder + 1 == share.size(); };
    for (const auto& [t, p] : shared.parts) {
      WritePlan::Piece rest = plan_.tensors[t].pieces[p];
      while (!is_last() && end - at <= tolerance_) end += share[++holder];
      while (!is_last() && at + bytes(t, rest.elements) > end + tolerance_) {
        WritePlan::Piece piece = rest;
        piece.elements = static_cast<std::int64_t>((end - at) / static_cast<double>(size_of(plan_.tensors[t].dtype)));
        piece.writer = shared.holders[holder];
        rest.first_element += piece.elements;
        rest.elements -= piece.elements;
        at += bytes(t, piece.elements);
        give(t, std::move(piece));
        end += share[++holder];
      }
      rest.writer = shared.holders[holder];
      at += bytes(t, rest.elements);
      give(t, std::move(rest));
    }
  }

  WritePlan& plan_;
  std::vector<double> loads_;  // bytes, by rank
  std::vector<std::vector<WritePlan::Piece>> cut_pieces_;
  double tolerance_ = 0;
};

}  // namespace

WritePlan plan_writes(std::span<const std::vector<HeldSlice>> held) {
  const HoldingsByName tensors = by_name(held);
  check_tree(tensors);
  WritePlan plan;
  plan.tensors.reserve(tensors.size());
  for (const auto& [name, holdings] : tensors) {
    check_agree(holdings);
    const HeldSlice& any = *holdings.front().slice;
    plan.tensors.push_back({any.name, any.dtype, any.global_shape, {}});
    if (elements_of(any) > 0) plan.tensors.back().pieces = parts_of(holdings);
  }
  Distribution(plan, static_cast<int>(held.size())).run();
  return plan;
}

}  // namespace lockstep
