// SPDX-License-Identifier: Apache-2.0
#include "nodes_operation.hpp"

#include <algorithm>

namespace lockstep::comm {
namespace {

// Small enough for the stages of a message of many MiB to overlap, large enough for the messages of a piece's slices.
constexpr std::size_t kPieceBytes = 4 << 20;

Range common(Range a, Range b) {
  const std::int64_t first = std::clamp(a.first, b.first, b.last);
  return {first, std::max(first, std::min(a.last, b.last))};
}

void cut(Range elements, int node, std::int64_t size, std::vector<Piece>& pieces) {
  for (std::int64_t first = elements.first; first < elements.last; first += size) {
    pieces.push_back({.elements = {first, std::min(first + size, elements.last)}, .node = node});
  }
}

// Where rows belong to nodes, the nodes' pieces alternate, so that all nodes are at work.
std::vector<Piece> pieces_of_rows(const std::vector<Range>& rows, const NodeLayout& layout, std::int64_t size) {
  std::vector<Piece> pieces;
  const auto start_of = [&](int node) { return rows[static_cast<std::size_t>(layout.first_rank(node))].first; };
  for (int node = 0; node < layout.nodes(); ++node) {
    const Range last_row = rows[static_cast<std::size_t>(layout.first_rank(node + 1) - 1)];
    cut({start_of(node), last_row.last}, node, size, pieces);
  }
  std::stable_sort(pieces.begin(), pieces.end(), [&](const Piece& a, const Piece& b) {
    return a.elements.first - start_of(a.node) < b.elements.first - start_of(b.node);
  });
  return pieces;
}

}  // namespace

NodesOperation::NodesOperation(NodesParts& parts, const Request& request)
    : parts_(parts), request_(request), element_bytes_(size_of(request.call.dtype)) {
  request_.partials = {};
  request_.leaf_bounds = request_.parts = {};
  const auto size = static_cast<std::int64_t>(kPieceBytes / element_bytes_);
  if (is(Kind::reduce_scatter) || is(Kind::all_gather)) {
    rows_ = rows_of(request, parts_.flat->world_size());
    pieces_ = pieces_of_rows(rows_, parts_.layout, size);
  } else {
    const int node = request.call.root < 0 ? -1 : parts_.layout.node_of(request.call.root);
    cut({0, request.call.elements}, node, size, pieces_);
  }
  Request agreement = request;
  agreement.agree_only = true;
  agreement_ = parts_.flat->start(agreement);
  parts_.in_flight.push_back(this);
}

NodesOperation::~NodesOperation() { std::erase(parts_.in_flight, this); }

void NodesOperation::enlist(std::size_t scratch_bytes) {
  std::uint64_t number = parts_.queue.enlist(pieces_.size(), scratch_bytes, *parts_.up);
  for (Piece& piece : pieces_) piece.number = number++;
}

std::size_t NodesOperation::last_in_flight() const { return std::min(pieces_.size(), done_ + PieceQueue::kInFlight); }

Advanced NodesOperation::advance(std::chrono::steady_clock::time_point slice_end) {
  auto moved = Advanced::not_yet;
  if (agreement_) {
    const Advanced agreed = agreement_->advance(slice_end);
    if (agreed != Advanced::fully) return agreed;
    agreement_.reset();
    moved = Advanced::partly;
  }
  const std::size_t end = last_in_flight();
  for (std::size_t i = done_; i < end; ++i) {
    if (step(pieces_[i], slice_end)) moved = Advanced::partly;
  }
  while (done_ < pieces_.size() && pieces_[done_].stage == Stage::done) ++done_;
  return done_ == pieces_.size() ? Advanced::fully : moved;
}

// The calls of a stage cannot differ, for all ranks have agreed on the whole, and no failure of theirs names a rank:
// there is nothing to translate.
bool NodesOperation::step(Piece& piece, std::chrono::steady_clock::time_point slice_end) {
  bool moved = false;
  while (piece.stage != Stage::done) {
    if (!piece.entered) {
      if (!parts_.queue.may_enter(piece.stage, piece.number)) break;
      if (piece.stage == Stage::up) piece.scratch = parts_.queue.scratch(piece.number);
      if (piece.stage == Stage::up) start_up(piece);
      if (piece.stage == Stage::across) start_across(piece);
      if (piece.stage == Stage::down) start_down(piece);
      parts_.queue.entered(piece.stage);
      piece.entered = moved = true;
    }
    for (OperationPtr& call : piece.calls) {
      const Advanced advanced = call->advance(slice_end);
      moved = moved || advanced != Advanced::not_yet;
      if (advanced == Advanced::fully) call.reset();
    }
    std::erase(piece.calls, nullptr);
    if (!piece.calls.empty()) break;
    piece.entered = false;
    piece.stage = static_cast<Stage>(static_cast<int>(piece.stage) + 1);
    moved = true;
    if (piece.stage != Stage::done) continue;
    piece.scratch.reset();
    parts_.queue.done(piece.number);
  }
  return moved;
}

int NodesOperation::world_rank(Stage stage, int rank) const {
  return stage == Stage::across ? parts_.layout.first_rank(rank) + parts_.local_rank
                                : parts_.layout.first_rank(parts_.node) + rank;
}

std::vector<int> NodesOperation::missing() const {
  if (agreement_) return agreement_->missing();
  std::vector<int> ranks;
  for (std::size_t i = done_; i < last_in_flight(); ++i) {
    for (const OperationPtr& call : pieces_[i].calls) {
      for (const int rank : call->missing()) ranks.push_back(world_rank(pieces_[i].stage, rank));
    }
  }
  // Without calls of its own it waits for a call before it.
  if (ranks.empty() && parts_.in_flight.front() != this) return parts_.in_flight.front()->missing();
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

void NodesOperation::start(Backend& backend, Piece& piece, Request request) const {
  request.call.sequence = piece.number;
  piece.calls.push_back(backend.start(request));
}

Range NodesOperation::own_slice(const Piece& piece) const {
  if (!parts_.across) return {piece.elements.last, piece.elements.last};
  return slice_of(piece.elements, parts_.layout.slices(), parts_.local_rank, kPageBytes / element_bytes_);
}

std::vector<std::int64_t> NodesOperation::slices(const Piece& piece) const {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(parts_.layout.ranks_of(parts_.node)), 0);
  const int slices = parts_.layout.slices();
  for (int slice = 0; slice < slices; ++slice) {
    sizes[static_cast<std::size_t>(slice)] =
        slice_of(piece.elements, slices, slice, kPageBytes / element_bytes_).size();
  }
  return sizes;
}

std::vector<std::int64_t> NodesOperation::row_parts(Range elements) const {
  std::vector<std::int64_t> sizes;
  for (int rank = parts_.layout.first_rank(parts_.node); rank < parts_.layout.first_rank(parts_.node + 1); ++rank) {
    sizes.push_back(common(elements, rows_[static_cast<std::size_t>(rank)]).size());
  }
  return sizes;
}

std::int64_t NodesOperation::position_in_own_row(const Piece& piece) const {
  const Range row = rows_[static_cast<std::size_t>(parts_.flat->rank())];
  return common(piece.elements, row).first - row.first;
}

void NodesOperation::gather_slices(Piece& piece, const std::byte* input) {
  const std::vector<std::int64_t> sizes = slices(piece);
  start(
      *parts_.down, piece,
      {.call = {.kind = Kind::all_gather, .dtype = request_.call.dtype, .elements = piece.elements.size(), .parts = 1},
       .parts = sizes,
       .input = input,
       .output = request_.output + bytes_of(piece.elements.first)});
}

}  // namespace lockstep::comm
