// SPDX-License-Identifier: Apache-2.0
#include "nodes_backend.hpp"

#include "nodes_move.hpp"
#include "nodes_reduction.hpp"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;

// Waits of the inner backend beyond this may sleep, and messages from other nodes would not wake it.
constexpr auto kAwake = std::chrono::microseconds(200);

class NodesBackend final : public Backend {
 public:
  NodesBackend(std::unique_ptr<Backend> flat, std::unique_ptr<Backend> inner) {
    const NodeLayout& layout = parts_.layout = layout_of(flat->peers()).value();
    parts_.local_rank = inner->rank();
    parts_.node = layout.node_of(flat->rank());
    const bool talks = parts_.local_rank < layout.slices();
    parts_.across = flat->split(talks ? parts_.local_rank : -1, flat->rank());
    parts_.down = inner->split(0, inner->rank());
    parts_.up = std::move(inner);
    parts_.flat = std::move(flat);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "nodes"; }
  [[nodiscard]] int rank() const noexcept override { return parts_.flat->rank(); }
  [[nodiscard]] int world_size() const noexcept override { return parts_.flat->world_size(); }
  [[nodiscard]] bool any_thread() const noexcept override { return false; }  // it calls MPI
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return parts_.flat->peers(); }

  [[nodiscard]] OperationPtr start(const Request& request) override {
    const Call& call = request.call;
    // So much rides in the messages of mpi by which all ranks agree on a call: two levels would only add to them.
    const bool small = static_cast<std::size_t>(call.elements) * size_of(call.dtype) <= kKeptBytes;
    if (!request.agree_only && !small) {
      if (is_reduction(call.kind)) return OperationPtr(new NodesReduction(parts_, request));
      const bool for_all = call.kind == Kind::broadcast || call.kind == Kind::all_gather;
      if (for_all) return OperationPtr(new NodesMove(parts_, request));
    }
    return parts_.flat->start(request);
  }

  // The inner backend looks first: of several dead ranks it knows the one that died first.
  void idle(std::chrono::nanoseconds waited) override {
    const auto now = std::chrono::steady_clock::now();
    if (waited >= milliseconds(1) && now - last_look_ >= milliseconds(1)) {
      last_look_ = now;
      try {
        parts_.up->idle(kAwake);
      } catch (const BackendFailure& thrown) {
        throw BackendFailure{in_world(thrown.failure)};
      }
    }
    parts_.flat->idle(waited);
  }

  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return parts_.up->allocate(bytes); }

  // Composes again, of the parts of both levels, if that is still worth it.
  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override {
    std::unique_ptr<Backend> flat = parts_.flat->split(color, key);
    std::unique_ptr<Backend> inner = parts_.up->split(color, key);
    if (!flat) return nullptr;
    if (gains_from_nodes(flat->peers())) return std::make_unique<NodesBackend>(std::move(flat), std::move(inner));
    const bool one_node = flat->world_size() == inner->world_size();
    std::unique_ptr<Backend>& rest = one_node ? flat : inner;
    rest->close();
    return std::move(one_node ? inner : flat);
  }

  // The ranks of this node are told in the numbers of the world; those of others have their deadlines.
  void fail(const Failure& failure) noexcept override {
    Failure told = seen_from_afar(failure, rank());
    const int first = parts_.layout.first_rank(parts_.node);
    const bool here = told.culprit >= first && told.culprit < parts_.layout.first_rank(parts_.node + 1);
    if (!here && told.culprit >= 0) told.culprit = kElsewhere - told.culprit;
    if (here) told.culprit -= first;
    parts_.up->fail(told);
    parts_.flat->fail(failure);
  }

  [[nodiscard]] bool claim_first_failure() noexcept override { return parts_.flat->claim_first_failure(); }

  void close() override {
    if (parts_.across) parts_.across->close();
    parts_.down->close();
    parts_.up->close();
    parts_.flat->close();
  }

 private:
  // A culprit of another node has no number among this node's ranks: it is told as kElsewhere less its number.
  static constexpr int kElsewhere = -2;

  // What fail() of a rank of this node told is in the numbers of the world but for the culprit; what the inner backend
  // has seen by itself is not.
  [[nodiscard]] Failure in_world(Failure failure) const {
    if (failure.culprit <= kElsewhere)
      failure.culprit = kElsewhere - failure.culprit;  // already in those of the world
    else if (failure.culprit >= 0)
      failure = of_this_node(std::move(failure));
    return failure;
  }

  [[nodiscard]] Failure of_this_node(Failure failure) const {
    const auto local = static_cast<std::size_t>(failure.culprit);
    failure.culprit += parts_.layout.first_rank(parts_.node);
    const bool seen_dead = failure.why == peer_died(static_cast<int>(local), parts_.up->peers()[local]).why;
    return seen_dead ? peer_died(failure.culprit, peers()[static_cast<std::size_t>(failure.culprit)]) : failure;
  }

  NodesParts parts_;
  std::chrono::steady_clock::time_point last_look_{};
};

}  // namespace

bool gains_from_nodes(const std::vector<Peer>& peers) {
  const auto layout = layout_of(peers);
  return layout && layout->nodes() > 1 && layout->nodes() < static_cast<int>(peers.size());
}

std::unique_ptr<Backend> make_nodes_backend(std::unique_ptr<Backend> flat, std::unique_ptr<Backend> inner) {
  return std::make_unique<NodesBackend>(std::move(flat), std::move(inner));
}

}  // namespace lockstep::comm
