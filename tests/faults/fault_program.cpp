// SPDX-License-Identifier: Apache-2.0
// A training program that starts fast and does something fatal to itself on one rank at a chosen point.
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>
#include <lockstep/comm/mpi.hpp>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <lockstep/lockstep.hpp>
#include <stdexcept>

namespace {

// What happens to which rank, where. The points: init (before lockstep::run), step (between a step's micro-batches and
// the optimizer), collective (while an all-reduce is in flight), save (while the state is collected), finalize (in
// MPI_Finalize).
struct Fault {
  std::string kind = "none";
  std::string at = "step";
  int rank = 1;
  std::int64_t step = 6;  // steps done when it happens, for the points that come more than once
  std::string mark;

  void strike(const std::string& point, int here, std::int64_t steps_done) const {
    if (kind == "none" || point != at || here != rank || steps_done < step) return;
    if (!mark.empty()) std::ofstream{mark};
    if (kind == "kill") std::raise(SIGKILL);
    if (kind == "stop") std::raise(SIGSTOP);
    if (kind == "abort") std::raise(SIGABRT);
    if (kind == "usr1") std::raise(SIGUSR1);
    if (kind == "exit0") std::exit(0);
    if (kind == "throw") throw std::runtime_error("the fault of this test");
    if (kind == "throw_ours") throw lockstep::DataError({.what = "the fault of this test", .why = "it was asked for"});
  }
};

struct Options {
  Fault fault;
  std::int64_t width = 16;  // of the net's hidden layer
  void describe(lockstep::OptionList& list) {
    constexpr auto may_change = lockstep::AtResume::may_change;
    list.add("fault.kind", fault.kind, "none, kill, stop, abort, usr1, exit0, throw or throw_ours", may_change);
    list.add("fault.at", fault.at, "init, step, collective, save or finalize", may_change);
    list.add("fault.rank", fault.rank, "-1: all of them", may_change);
    list.add("fault.step", fault.step, "steps done when it happens", may_change);
    list.add("fault.mark", fault.mark, "file to write just before", may_change);
    list.add("net.width", width, "of the hidden layer", may_change);
  }
};

// In the checkpoint like a data loader, so that it is asked for its state when one is written.
class FaultAtSave final : public lockstep::Resumable {
 public:
  FaultAtSave(const Fault& fault, int rank) : fault_(fault), rank_(rank) {}
  void done(std::int64_t steps) { steps_done_ = steps; }
  [[nodiscard]] std::string state() const override {
    fault_.strike("save", rank_, steps_done_);
    return "{}";
  }
  void load_state(std::string_view) override {}

 private:
  Fault fault_;
  int rank_;
  std::int64_t steps_done_ = 0;
};

struct Net : torch::nn::Module {
  explicit Net(std::int64_t width)
      : hidden(register_module("hidden", torch::nn::Linear(8, width))),
        out(register_module("out", torch::nn::Linear(width, 1))) {}
  torch::Tensor forward(const torch::Tensor& x) { return out(torch::tanh(hidden(x))); }  // [n, 8] to [n, 1]
  torch::nn::Linear hidden, out;
};

struct FaultAtFinalize {
  Fault fault;
  int rank = 0;
};

int strike_in_finalize(MPI_Comm, int, void* attribute, void*) {
  const auto* const given = static_cast<FaultAtFinalize*>(attribute);
  given->fault.strike("finalize", given->rank, given->fault.step);
  return MPI_SUCCESS;
}

// MPI_Finalize frees the attributes of MPI_COMM_SELF before anything else.
void strike_later(const Fault& fault, int rank) {
  static FaultAtFinalize given;
  given = {fault, rank};
  int key = MPI_KEYVAL_INVALID;
  MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, strike_in_finalize, &key, nullptr);
  MPI_Comm_set_attr(MPI_COMM_SELF, key, &given);
}

void train(lockstep::Runtime& rt, const Options& options) {
  const Fault& fault = options.fault;
  if (fault.at == "finalize") strike_later(fault, rt.rank());
  const auto net = std::make_shared<Net>(options.width);
  net->to(rt.device());
  lockstep::DistributedDataParallel model(rt, net);
  torch::optim::SGD sgd(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  FaultAtSave at_save(fault, rt.rank());
  lockstep::TrainState state;
  state.add("model", net).add("optimizer", sgd).add("fault", at_save);

  const std::vector<int> batches(1000);  // samples are drawn below: the generator depends on the step, so they resume
  for (auto& step : rt.steps(state, batches)) {
    sgd.zero_grad();
    for ([[maybe_unused]] const int nothing : step.micro_batches()) {
      const auto x = torch::randn({16, 8}).to(rt.device());
      model.forward(x).sub(x.sum(1, true)).square().mean().backward();
    }
    const std::int64_t steps_done = step.index() + 1;
    at_save.done(steps_done);
    fault.strike("step", fault.rank < 0 ? -1 : rt.rank(), steps_done);
    auto large = torch::ones({1 << 20});
    auto work = rt.world().all_reduce(large);
    fault.strike("collective", rt.rank(), steps_done);
    work.wait();
    sgd.step();
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  lockstep::RuntimeOptions runtime;
  lockstep::OptionList list;
  runtime.describe(list);
  options.describe(list);
  try {
    lockstep::parse_command_line(list, {argv + 1, argv + argc});
  } catch (const lockstep::Error&) {  // lockstep::run says it
  }
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (rank == nullptr) rank = std::getenv("RANK");
  if (rank != nullptr) options.fault.strike("init", std::atoi(rank), options.fault.step);
  return lockstep::run<Options>(argc, argv, train);
}
