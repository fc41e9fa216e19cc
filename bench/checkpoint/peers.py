#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same state saved by others: 1,000 float32 tensors, random bits.

usage: peers.py run FOLDER CONTENDER BYTES REPEATS    prints a JSON line; medians of REPEATS saves after the first
       peers.py list RANKS                            the contenders that run as so many ranks
Ranks are processes with RANK, WORLD_SIZE and LOCKSTEP_RENDEZVOUS, a name that the job has for itself; bench/checkpoint/run.py
starts them. FOLDER is emptied. Packages: requirements.txt.
"""

import functools
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import time

import h5py
import safetensors.torch
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed._state_dict_utils import _create_cpu_state_dict
from torch.distributed.checkpoint.staging import BlockingAsyncStager

TENSORS = 1000
RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
JOB = os.environ.get("LOCKSTEP_RENDEZVOUS", "")


def filled(memory):
    """Random bits in one piece of memory; a piece of 64 MiB again and again, because no one looks for repetitions."""
    piece = torch.randint(-2**31, 2**31 - 1, (16 << 20,), dtype=torch.int32, generator=torch.Generator().manual_seed(1))
    for part in memory.view(torch.int32).split(len(piece)):
        part.copy_(piece[:len(part)])


def make_state(size):
    """All ranks map the same pages, or four of them would not fit into the memory."""
    elements = size // TENSORS // 64 * 16
    if RANKS == 1:
        memory = torch.empty(elements * TENSORS)
        filled(memory)
    else:
        path = f"/dev/shm/{JOB}"
        if RANK == 0:
            filled(torch.from_file(path, shared=True, size=elements * TENSORS))
        dist.barrier()
        memory = torch.from_file(path, shared=False, size=elements * TENSORS)
        memory.sum()  # no page is touched first by a timed save
        dist.barrier()
        if RANK == 0:
            os.unlink(path)
    # Each has a storage of its own, as those of a net: else some save all of it, or copy each first.
    return {f"model.layer{number:06}.weight": torch.frombuffer(memory.numpy(), dtype=torch.float32, count=elements,
                                                               offset=number * elements * 4).view(-1, 16)
            for number in range(TENSORS)}


def fsync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def one_file(write):
    """What saves by one file, which is made durable afterwards."""
    def save(state, path):
        began = time.perf_counter()
        write(state, path)
        written = time.perf_counter() - began
        fsync(path)
        fsync(path.parent)
        return {"unsynced_seconds": written}
    return save


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def write_h5py(state, path):
    with h5py.File(path, "w") as file:
        for name, tensor in state.items():
            file.create_dataset(name.replace(".", "/"), data=tensor.numpy())


def save_dcp(state, path):
    """Fsyncs its files by itself."""
    dcp.save(state, checkpoint_id=path)
    return {}


def save_dcp_async(stager=lambda _: None):
    """The stall is the call; `stager` gives the one for a state."""
    def save(state, path):
        using = stager(state)
        began, faults = time.perf_counter(), page_faults()
        saving = dcp.async_save(state, checkpoint_id=path, async_stager=using)
        stall = time.perf_counter() - began
        faults = page_faults() - faults
        saving.result()
        return {"stall_seconds": stall, "page_faults": faults}
    return save


@functools.cache
def cached_staging():
    """One stager for all saves (torch 2.11's DefaultStager serves one only)."""
    return BlockingAsyncStager(cache_staged_state_dict=True)


def stage_cached(state):
    stager = cached_staging()
    if stager.state_dict_cache is None:
        stager.state_dict_cache = _create_cpu_state_dict(state)  # its own would be pinned, which takes CUDA
    return stager


# contender: (what saves, numbers of ranks)
CONTENDERS = {
    "torch.save": (one_file(torch.save), (1,)),
    "safetensors": (one_file(safetensors.torch.save_file), (1,)),
    "h5py": (one_file(write_h5py), (1,)),
    "DCP": (save_dcp, (1, 4)),
    "DCP async_save": (save_dcp_async(), (1, 4)),
    "DCP async_save, cached staging": (save_dcp_async(stage_cached), (1, 4)),
}


def longest(seconds):
    if RANKS == 1:
        return seconds
    value = torch.tensor(seconds, dtype=torch.float64)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return value.item()


def one_save(save, state, folder):
    """A save into an empty folder on an idle disk."""
    if RANK == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.sync()
    longest(0.0)
    began = time.perf_counter()
    found = save(state, folder / "state")
    found["durable_seconds"] = time.perf_counter() - began
    return {name: longest(float(value)) for name, value in found.items()}


def run(folder, name, size, repeats):
    if RANKS > 1:
        dist.init_process_group("gloo", init_method=f"file:///dev/shm/{JOB}-meet", rank=RANK, world_size=RANKS)
    state = make_state(size)
    save = CONTENDERS[name][0]
    first, *later = [one_save(save, state, folder) for _ in range(repeats + 1)]
    if RANK == 0:
        shutil.rmtree(folder)
        medians = {metric: statistics.median(one[metric] for one in later) for metric in first}
        print(json.dumps({"case": "save", "contender": name, "ranks": RANKS, "bytes": size, **medians,
                          "first_durable_seconds": first["durable_seconds"]}), flush=True)
    if RANKS > 1:
        dist.destroy_process_group()


def main(action, *arguments):
    if action == "list":
        print("\n".join(name for name, (_, ranks) in CONTENDERS.items() if int(arguments[0]) in ranks))
    else:
        folder, name, size, repeats = arguments
        torch.set_num_threads(1)
        run(pathlib.Path(folder), name, int(size), int(repeats))


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("run", "list"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
