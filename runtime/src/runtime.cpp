// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/runtime.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <torch/version.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "gpu_choice.hpp"
#include "lockstep/base/environment.hpp"
#include "lockstep/base/version.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/flight_recorder.hpp"
#include "runtime_impl.hpp"
#include "signals.hpp"

namespace lockstep {
namespace {

bool stderr_is_a_terminal() {
  return isatty(STDERR_FILENO) != 0 || environment_variable("LOCKSTEP_TERMINAL").has_value();
}

LogOptions log_options(const Communicator& world, const std::optional<RunFolder>& folder) {
  LogOptions options{.prefix = world.who()};
  options.console_level = world.rank() == 0 ? LogLevel::info : LogLevel::error;
  if (folder) options.file = folder->log_of(world.rank()).string();
  return options;
}

void check_world_size(int world_size, int micro_batches, const std::string& origin) {
  if (world_size <= micro_batches) return;
  throw AgreedError(
      {.what = fmt::format("{} ranks for {} micro-batches ({})", world_size, micro_batches, origin),
       .why = "every rank must own at least one micro-batch",
       .fix = fmt::format("start at most {} ranks, or begin a new run with train.micro_batches={} or more",
                          micro_batches, world_size)},
      ExitCode::usage);
}

// From here on this thread queues its work on a stream of its own: the default one cannot be captured (CapturedStep),
// and autograd accumulates gradients on the stream on which a model was first used.
void leave_default_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const c10::Stream stream = guard.getStreamFromGlobalPool(device);
  c10::Event event(device.type());
  event.record(guard.getStream(device));
  event.block(stream);
  static_cast<void>(guard.exchangeStream(stream));
}

// Collective. Rank 0 says where the job computes, and why.
void take_device(Runtime::Impl& impl) {
  DeviceChoice choice = choose_device(impl.world, impl.options.device);
  if (choice.gpu) impl.use_gpu(std::move(*choice.gpu));
  if (!impl.is_root()) return;
  if (!impl.gpu) {
    impl.log.info(fmt::format("device cpu ({})", choice.why));
    return;
  }
  const bool staged = impl.transport.transport == GpuTransport::staged;
  impl.log.info(fmt::format("device {} ({}; {}), gradients travel {}{}", impl.gpu->torch_device().str(),
                            impl.gpu->name(), choice.why, staged ? "through the host: " : "by NCCL",
                            staged ? impl.transport.why : ""));
}

}  // namespace

Runtime::Impl::Impl(Communicator given, const RuntimeOptions& runtime_options)
    : world(std::move(given)), options(runtime_options), progress(world.rank() == 0 && stderr_is_a_terminal()) {
  determinism.intra_op_threads = at::get_num_threads();
  determinism.libtorch = TORCH_VERSION;
  determinism.cpu_capability = at::get_cpu_capability();
}

Range Runtime::Impl::owned_micro_batches() const { return even_split(micro_batches, world.world_size(), world.rank()); }

ReduceOrder Runtime::Impl::reduce_order() const {
  return options.reduce_order == "any" ? ReduceOrder::any : ReduceOrder::tree;
}

bool Runtime::Impl::stop_requested() const noexcept { return listens_to_signals && StopSignals::requested(); }

void Runtime::Impl::use_gpu(Gpu given) {
  transport = choose_transport(world, given);
  determinism.device = given.name();
  if (!given.torch_device().is_cpu()) leave_default_stream(given.torch_device());
  gpu = std::move(given);
}

std::shared_ptr<Communicator> Runtime::Impl::communicator_for(at::Device device, const std::string& name) {
  if (gpu && device == gpu->torch_device()) {
    gpu_communicators.push_back(
        std::make_shared<Communicator>(gpu_communicator(world, *gpu, name, transport.transport)));
    return gpu_communicators.back();
  }
  // Under lockstep::run batches come on the GPU; a program that embeds us has its own, and may train on the CPU.
  const bool on_cpu = device.is_cpu() && (!gpu || !folder);
  if (on_cpu) return std::make_shared<Communicator>(world.duplicate(name));
  throw UsageError({.who = world.who(),
                    .what = fmt::format("a module on {}", device.str()),
                    .why = fmt::format("this rank computes on {}", gpu ? gpu->torch_device().str() : "cpu"),
                    .fix = "move it by module->to(rt.device()); run.device chooses between cpu and cuda"});
}

void Runtime::Impl::check_device_calls() {
  for (const auto& communicator : gpu_communicators) communicator->check();
}

void Runtime::Impl::say(const std::string& line) {
  if (!is_root()) return;
  progress.clear();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

Runtime::Runtime(Communicator world) : impl_(std::make_unique<Impl>(std::move(world), RuntimeOptions{})) {
  impl_->micro_batches = impl_->determinism.micro_batches = world_size();
  impl_->log = Logger(log_options(impl_->world, impl_->folder));
  take_device(*impl_);
  if (impl_->determinism.intra_op_threads != impl_->options.intra_op_threads && rank() == 0) {
    impl_->log.warning(
        fmt::format("LibTorch uses {} intra-op threads here; bits are the same only at an equal number "
                    "(at::set_num_threads)",
                    impl_->determinism.intra_op_threads));
  }
}

Runtime::Runtime(Communicator world, const RuntimeOptions& runtime_options, const OptionList& options)
    : impl_(std::make_unique<Impl>(std::move(world), runtime_options)) {
  Impl& impl = *impl_;
  RunFolder folder(runtime_options.run_dir);
  const std::string stored_text = decide_on_rank_0(impl.world, [&] {
    folder.open();
    return std::to_string(folder.stored_micro_batches());
  });
  impl.folder.emplace(std::move(folder));
  impl.log = Logger(log_options(impl.world, impl.folder));
  set_flight_folder(impl.folder->flight());

  const int stored = std::stoi(stored_text);
  const bool given = runtime_options.micro_batches > 0;
  impl.micro_batches = given ? runtime_options.micro_batches : stored > 0 ? stored : world_size();
  const std::string origin = given        ? "train.micro_batches"
                             : stored > 0 ? "as this run was first started, in run.json"
                                          : "the world size of this first start";
  check_world_size(world_size(), impl.micro_batches, origin);
  impl.determinism.micro_batches = impl.micro_batches;
  impl.options.micro_batches = impl.micro_batches;
  for (const OptionList::Option& option : options.options()) {
    const bool is_m = option.name == "train.micro_batches";
    if (option.at_resume == AtResume::must_equal) {
      impl.must_equal[option.name] = is_m ? std::to_string(impl.micro_batches) : value_text(option);
    }
  }
  impl.resolved_config = to_toml(options);
  if (rank() == 0) {
    impl.log.info(fmt::format("lockstep {}: {} rank{} ({}), {} micro-batch{} a step ({}), run folder {}", version(),
                              world_size(), world_size() == 1 ? "" : "s", impl.world.backend_name(), impl.micro_batches,
                              impl.micro_batches == 1 ? "" : "es", origin, runtime_options.run_dir));
    if (impl.options.reduce_order == "any") {
      impl.log.warning("determinism.reduce_order=any: bits may change with the number of ranks");
    }
  }
  take_device(impl);
}

Runtime::~Runtime() = default;

Communicator& Runtime::world() noexcept { return impl_->world; }
int Runtime::rank() const noexcept { return impl_->world.rank(); }
int Runtime::world_size() const noexcept { return impl_->world.world_size(); }
at::Device Runtime::device() const noexcept { return impl_->gpu ? impl_->gpu->torch_device() : at::Device(at::kCPU); }
Logger& Runtime::log() noexcept { return impl_->log; }

LoaderOptions Runtime::loader_options() const {
  return {.seed = static_cast<std::uint64_t>(impl_->options.seed),
          .global_batch = impl_->options.global_batch,
          .micro_batches = impl_->micro_batches,
          .owned = impl_->owned_micro_batches(),
          .pinned_memory = !device().is_cpu()};
}

LoaderOptions Runtime::evaluation_options() const {
  LoaderOptions options = loader_options();
  options.shuffle = false;
  return options;
}

void Runtime::report(std::string_view name, double value) {
  impl_->results.emplace_back(name, value);
  impl_->say(fmt::format("{} {:.4f}", name, value));
}

void Runtime::close() {
  Impl& impl = *impl_;
  if (impl.folder && !impl.parameters_sha256.empty()) {
    agree(impl.world, [&] {
      impl.check_device_calls();
      if (rank() == 0) impl.folder->record_final(impl.results, impl.parameters_sha256, impl.final_step);
    });
    impl.say(fmt::format("parameters sha256 {}", impl.parameters_sha256));
    impl.say(fmt::format("results in {}", impl.folder->path().string()));
  }
  for (const auto& communicator : impl.gpu_communicators) {
    if (!communicator->failed()) communicator->close();
  }
  impl.world.close();
}

}  // namespace lockstep
