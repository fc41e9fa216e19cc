// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/base/config.hpp"

namespace lockstep {

// What every program that uses lockstep::run takes on its command line; the program declares its own options besides.
struct RuntimeOptions {
  std::string run_dir;          // everything a run writes; default runs/<program>
  int ranks = 1;                // threads of comm.backend=local; launch scripts read it too
  std::string device = "auto";  // cpu, cuda: the GPU of this local rank; auto: cuda where every rank has one
  std::int64_t seed = 0;
  std::int64_t epochs = 5;
  std::int64_t max_steps = 0;                 // counted from step 0; 0: no limit
  std::int64_t global_batch = 128;            // samples of a step, over all ranks
  int micro_batches = 0;                      // M; 0: that of the run folder, else the world size of this first launch
  std::int64_t bucket_bytes = 25 << 20;       // of gradients reduced together; the first bucket holds at most 1 MiB
  std::int64_t checkpoint_every_steps = 200;  // 0: only at the end and on request
  bool checkpoint_overlap = false;            // copy the state during the next forward and backward pass
  int checkpoint_keep_last = 0;               // these five: RetentionPolicy; 0: all stay
  std::int64_t checkpoint_keep_every = 0;
  int checkpoint_keep_best = 0;
  std::string checkpoint_metric = "loss";
  std::string checkpoint_best = "min";  // or max
  std::int64_t checkpoint_quota_bytes = 0;
  std::string checkpoint_local_dir;          // of each node its own: partner copies there; empty: none
  std::int64_t checkpoint_flush_every = 10;  // with local_dir, each so-manieth checkpoint goes to the run folder
  std::int64_t log_every_steps = 10;
  std::string comm_backend = "auto";  // started by a launcher: see Session::world; else local
  double timeout_seconds = 120;       // of every collective
  int intra_op_threads = 1;           // of LibTorch's kernels; bits depend on it, so it never follows from the ranks
  std::string reduce_order = "tree";  // tree or any
  bool allow_changes = false;         // resume although options differ from the checkpoint's

  // Declares them as run.dir, train.epochs and so on.
  void describe(OptionList& list);
  // Throws UsageError naming the option whose value is out of range.
  void check() const;
};

}  // namespace lockstep
