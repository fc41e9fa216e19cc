// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../moves.hpp"
#include "node_layout.hpp"
#include "piece_queue.hpp"

namespace lockstep::comm {

class NodesOperation;

// The communicators that a composition consists of, and where this rank is in them.
struct NodesParts {
  NodeLayout layout;
  int node = 0;
  int local_rank = 0;
  std::unique_ptr<Backend> flat;      // of all ranks
  std::unique_ptr<Backend> up, down;  // of this node's ranks
  std::unique_ptr<Backend> across;    // of the ranks with this local rank, by node; null from layout.slices() on
  PieceQueue queue{};
  std::vector<const NodesOperation*> in_flight{};  // in the order of their start
};

// A part of a call that goes through the stages by itself.
struct Piece {
  Range elements{};  // of the tensor; reduce_scatter, all_gather: of all rows
  int node = -1;     // the one that gets it (reduce, reduce_scatter) or has it (broadcast, all_gather); -1: all
  std::uint64_t number = 0;
  Stage stage = Stage::up;
  bool entered = false;
  std::vector<OperationPtr> calls{};  // of this stage
  std::shared_ptr<std::byte> scratch{};
};

// A call, cut into pieces whose stages overlap. First all ranks agree on it, over the communicator of all of them.
class NodesOperation : public Operation {
 public:
  ~NodesOperation() override;
  Advanced advance(std::chrono::steady_clock::time_point slice_end) final;
  [[nodiscard]] std::vector<int> missing() const final;

 protected:
  NodesOperation(NodesParts& parts, const Request& request);
  // To be called once, by the constructor of the kind of call.
  void enlist(std::size_t scratch_bytes);

  // Start the calls of a stage, if this rank takes part in it.
  virtual void start_up(Piece& piece) = 0;
  virtual void start_across(Piece& piece) = 0;
  virtual void start_down(Piece& piece) = 0;

  void start(Backend& backend, Piece& piece, Request request) const;
  [[nodiscard]] bool is(Kind kind) const noexcept { return request_.call.kind == kind; }
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }
  [[nodiscard]] Range own_slice(const Piece& piece) const;  // empty on ranks that do not talk to other nodes
  [[nodiscard]] std::vector<std::int64_t> slices(const Piece& piece) const;  // sizes, by local rank
  // What of each local rank's row lies in these elements.
  [[nodiscard]] std::vector<std::int64_t> row_parts(Range elements) const;
  // Where the piece's part of our own row begins in this row.
  [[nodiscard]] std::int64_t position_in_own_row(const Piece& piece) const;
  // Every local rank gives its slice, which lies in `input`, and gets the whole piece into the output.
  void gather_slices(Piece& piece, const std::byte* input);

  NodesParts& parts_;
  Request request_;  // without the caller's spans
  std::size_t element_bytes_;
  std::vector<Piece> pieces_;

 private:
  [[nodiscard]] bool step(Piece& piece, std::chrono::steady_clock::time_point slice_end);
  [[nodiscard]] int world_rank(Stage stage, int rank) const;
  [[nodiscard]] std::size_t last_in_flight() const;

  std::vector<Range> rows_;  // reduce_scatter, all_gather: by rank
  OperationPtr agreement_;   // null once all agree
  std::size_t done_ = 0;     // pieces
};

}  // namespace lockstep::comm
