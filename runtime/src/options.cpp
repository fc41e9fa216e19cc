// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "lockstep/base/error.hpp"

namespace lockstep {

void RuntimeOptions::describe(OptionList& list) {
  constexpr AtResume may_change = AtResume::may_change;
  list.add("run.dir", run_dir, "folder for everything that a run writes", may_change);
  list.add("run.ranks", ranks, "ranks that launch scripts start, and threads of comm.backend=local", may_change);
  list.add("run.device", device, "auto, cpu, or cuda: each rank's model and batches on the GPU of its local rank",
           may_change);
  list.add("seed", seed, "of weights, sample order, dropout and augmentation");
  list.add("train.epochs", epochs, "passes over the data", may_change);
  list.add("train.max_steps", max_steps, "stop after this step, counted from 0; 0: no limit", may_change);
  list.add("train.global_batch", global_batch, "samples of a step, over all ranks");
  list.add("train.micro_batches", micro_batches,
           "parts of a step that bits are defined over; 0: the world size of the first start");
  list.add("train.bucket_bytes", bucket_bytes, "bytes of gradients reduced together", may_change);
  list.add("checkpoint.every_steps", checkpoint_every_steps, "steps between checkpoints; 0: only at the end",
           may_change);
  list.add(
      "checkpoint.overlap", checkpoint_overlap,
      "copy the state while the next step computes: saves cost less, if nothing but the optimizer changes the model",
      may_change);
  list.add("checkpoint.keep_last", checkpoint_keep_last, "newest checkpoints that stay; 0: all do", may_change);
  list.add("checkpoint.keep_every", checkpoint_keep_every, "besides, those whose step is a multiple of this; 0: none",
           may_change);
  list.add("checkpoint.keep_best", checkpoint_keep_best, "besides, so many with the best checkpoint.metric",
           may_change);
  list.add("checkpoint.metric", checkpoint_metric, "name of a logged metric", may_change);
  list.add("checkpoint.best", checkpoint_best, "min or max: which values of checkpoint.metric are best", may_change);
  list.add("checkpoint.quota_bytes", checkpoint_quota_bytes,
           "of all checkpoints; the oldest go, and the newest always stays; 0: no limit", may_change);
  list.add("checkpoint.local_dir", checkpoint_local_dir,
           "folder on every node, in /dev/shm or on a disk, for checkpoints that partner nodes hold too; empty: none",
           may_change);
  list.add("checkpoint.flush_every", checkpoint_flush_every,
           "with checkpoint.local_dir: each checkpoint of so many goes to the run folder, the others stay on the nodes",
           may_change);
  list.add("log.every_steps", log_every_steps, "steps between lines of metrics.jsonl", may_change);
  list.add("comm.backend", comm_backend,
           "auto, shm, nodes or mpi (started by mpirun or srun), or local (threads of one process)", may_change);
  list.add("comm.timeout_seconds", timeout_seconds, "after which a rank that waits gives up and names who is missing",
           may_change);
  list.add("determinism.intra_op_threads", intra_op_threads, "threads of LibTorch's kernels; bits depend on it",
           may_change);
  list.add("determinism.reduce_order", reduce_order, "tree (same bits on any number of ranks) or any");
  list.add("resume.allow_changes", allow_changes, "go on although options differ from the checkpoint's", may_change);
}

void RuntimeOptions::check() const {
  const auto require = [](bool holds, const char* name, const std::string& value, const char* range) {
    if (holds) return;
    throw UsageError(
        {.what = fmt::format("{}={}", name, value), .why = fmt::format("it must be {}", range), .fix = {}});
  };
  require(ranks >= 1, "run.ranks", std::to_string(ranks), "at least 1");
  require(device == "auto" || device == "cpu" || device == "cuda", "run.device", device, "auto, cpu or cuda");
  require(epochs >= 1, "train.epochs", std::to_string(epochs), "at least 1");
  require(max_steps >= 0, "train.max_steps", std::to_string(max_steps), "0 or more");
  require(global_batch >= 1, "train.global_batch", std::to_string(global_batch), "at least 1");
  require(micro_batches >= 0, "train.micro_batches", std::to_string(micro_batches), "0 or more");
  require(bucket_bytes >= 1, "train.bucket_bytes", std::to_string(bucket_bytes), "at least 1");
  require(checkpoint_every_steps >= 0, "checkpoint.every_steps", std::to_string(checkpoint_every_steps), "0 or more");
  require(checkpoint_keep_last >= 0, "checkpoint.keep_last", std::to_string(checkpoint_keep_last), "0 or more");
  require(checkpoint_keep_every >= 0, "checkpoint.keep_every", std::to_string(checkpoint_keep_every), "0 or more");
  require(checkpoint_keep_best >= 0, "checkpoint.keep_best", std::to_string(checkpoint_keep_best), "0 or more");
  require(checkpoint_best == "min" || checkpoint_best == "max", "checkpoint.best", checkpoint_best, "min or max");
  require(checkpoint_quota_bytes >= 0, "checkpoint.quota_bytes", std::to_string(checkpoint_quota_bytes), "0 or more");
  require(checkpoint_flush_every >= 1, "checkpoint.flush_every", std::to_string(checkpoint_flush_every), "at least 1");
  require(log_every_steps >= 1, "log.every_steps", std::to_string(log_every_steps), "at least 1");
  constexpr std::string_view kBackends[] = {"auto", "shm", "nodes", "mpi", "local"};
  const bool known = std::find(std::begin(kBackends), std::end(kBackends), comm_backend) != std::end(kBackends);
  require(known, "comm.backend", comm_backend, "auto, shm, nodes, mpi or local");
  require(timeout_seconds > 0, "comm.timeout_seconds", fmt::format("{}", timeout_seconds), "more than 0");
  require(intra_op_threads >= 1, "determinism.intra_op_threads", std::to_string(intra_op_threads), "at least 1");
  require(reduce_order == "tree" || reduce_order == "any", "determinism.reduce_order", reduce_order, "tree or any");
}

}  // namespace lockstep
