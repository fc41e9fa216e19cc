# SPDX-License-Identifier: Apache-2.0
"""Gloo's all-reduce through torch.distributed, in the loop of bench/collectives/harness.hpp as far as Python can: data
rewritten, one barrier (Gloo's own), the longest of all ranks. The cost of an empty call through Python is printed too.
usage: RANK=… WORLD_SIZE=… MASTER_ADDR=… MASTER_PORT=… gloo_all_reduce.py LARGEST_BYTES
"""

import json
import os
import statistics
import sys
import time

import torch
import torch.distributed as dist


def main():
    largest = int(sys.argv[1])
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    began = time.perf_counter()
    for _ in range(1000):
        dist.get_rank()
    empty = (time.perf_counter() - began) / 1000
    size = 8
    while size <= largest:
        tensor = torch.empty(size // 4)
        times = []
        for _ in range(200 if size <= 65536 else 40 if size <= 4 << 20 else 8):
            tensor.fill_(rank + 1)
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - began)
            assert tensor[-1].item() == sum(range(1, dist.get_world_size() + 1))
        all_times = torch.tensor(times, dtype=torch.float64)
        dist.all_reduce(all_times, dist.ReduceOp.MAX)
        ordered = sorted(all_times.tolist())
        if rank == 0:
            print(json.dumps({"contender": "gloo", "case": "all_reduce", "bytes": size, "median": statistics.median(ordered),
                              "p99": ordered[int(0.99 * (len(ordered) - 1))], "empty_call": empty}), flush=True)
        size *= 2
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
