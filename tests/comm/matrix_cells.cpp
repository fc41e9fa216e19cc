// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <sstream>
#include <utility>

#include "comm/matrix.hpp"
#include "comm/oracle.hpp"

namespace lockstep::testing {
namespace {

using comm::Kind;

constexpr std::int64_t kSizes[] = {0, 1, 1237,
                                   kLargestSize};  // by their bytes: inline, eager, staged in several chunks

// The cells of one kind of call, in the order that makes each oracle's answer serve many.
template <class Add>
void for_all_memory(const Add& add) {
  for (const bool aligned : {true, false}) {
    for (const bool allocated : {false, true}) add(aligned, allocated);
  }
}

}  // namespace

std::string to_string(const MatrixCell& cell) {
  std::ostringstream text;
  text << comm::name_of(cell.kind) << (cell.parts ? " in parts, " : ", ") << cell.elements << " × "
       << name_of(cell.dtype) << ", " << name_of(cell.op) << ", scale " << cell.scale
       << (cell.in_place ? ", in place" : "") << (cell.aligned ? "" : ", misaligned")
       << (cell.allocated ? ", allocated" : "");
  return text.str();
}

std::vector<MatrixCell> all_reductions() {
  std::vector<MatrixCell> cells;
  const auto add = [&](DType dtype, ReduceOp op, double scale) {
    for (const std::int64_t elements : kSizes) {
      for (const auto& [kind, parts] :
           {std::pair{Kind::all_reduce, false}, std::pair{Kind::reduce, false}, std::pair{Kind::reduce_scatter, false},
            std::pair{Kind::reduce_scatter, true}}) {
        for (const bool in_place : {false, true}) {
          for_all_memory([&, kind = kind, parts = parts](bool aligned, bool allocated) {
            cells.push_back({kind, parts, dtype, op, scale, elements, in_place, aligned, allocated});
          });
        }
      }
    }
  };
  for (const DType dtype : kDTypes) {
    for (const ReduceOp op : kOps) {
      if (!has_meaning(dtype, op)) continue;
      add(dtype, op, 1.0);
      if (is_floating(dtype)) add(dtype, op, 0.3);
    }
  }
  return cells;
}

std::vector<MatrixCell> all_moves() {
  std::vector<MatrixCell> cells;
  for (const DType dtype : kDTypes) {
    for (const std::int64_t elements : kSizes) {
      for (const Kind kind :
           {Kind::broadcast, Kind::all_gather, Kind::gather, Kind::scatter, Kind::all_to_all, Kind::send}) {
        for (const bool parts : {false, true}) {
          if ((kind == Kind::broadcast || kind == Kind::send) && parts) continue;
          for_all_memory([&](bool aligned, bool allocated) {
            cells.push_back({.kind = kind,
                             .parts = parts,
                             .dtype = dtype,
                             .elements = elements,
                             .aligned = aligned,
                             .allocated = allocated});
          });
        }
      }
    }
  }
  return cells;
}

std::vector<MatrixCell> every_pair_of_factors(std::vector<MatrixCell> cells, unsigned seed) {
  std::mt19937 random(seed);
  std::shuffle(cells.begin(), cells.end(), random);
  std::set<std::array<std::int64_t, 4>> seen;
  const auto is_new = [&](const MatrixCell& cell) {
    const std::array<std::int64_t, 8> factors{static_cast<int>(cell.kind) * 2 + cell.parts,
                                              static_cast<int>(cell.dtype),
                                              static_cast<int>(cell.op),
                                              cell.scale != 1.0,
                                              cell.elements,
                                              cell.in_place,
                                              cell.aligned,
                                              cell.allocated};
    bool found = false;
    for (std::size_t a = 0; a < factors.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        found |=
            seen.insert({static_cast<std::int64_t>(a), static_cast<std::int64_t>(b), factors[a], factors[b]}).second;
      }
    }
    return found;
  };
  std::erase_if(cells, [&](const MatrixCell& cell) { return !is_new(cell); });
  return cells;
}

}  // namespace lockstep::testing
