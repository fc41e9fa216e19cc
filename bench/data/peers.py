#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same work on the others' data loaders: shuffled batches of fixed records as torch tensors, warm page cache.

usage: peers.py make FOLDER                            writes the data sets, the same bytes in every format
       peers.py run FOLDER CASE CONTENDER [SECONDS]    times one contender; a JSON line for each size of batch
       peers.py list                                   the contenders
Packages: requirements.txt. bench/data/run.py starts each contender in a process of its own.
"""

import io
import json
import pathlib
import shutil
import sys
import tarfile
import time

import numpy
import torch

# case: (bytes a record, records, records a tar shard)
CASES = {"D1": (2048, 160_000, 40_000), "D2": (100_000, 4_000, 1_000)}
BATCHES = (64, 256)
SEED = 20261123
WARM_UP_SECONDS = 0.5
NPY_HEADER = 128  # bytes


def records(case):
    size, count, _ = CASES[case]
    generator = numpy.random.default_rng(SEED)
    for _ in range(count):
        yield generator.bytes(size)


def as_npy(record):
    file = io.BytesIO()
    numpy.save(file, numpy.frombuffer(record, numpy.uint8))
    return file.getvalue()


def make_tars(folder, case):
    folder.mkdir()
    per_shard = CASES[case][2]
    for number, record in enumerate(records(case)):
        if number % per_shard == 0:
            tar = tarfile.open(folder / f"shard-{number // per_shard:05}.tar", "w", format=tarfile.USTAR_FORMAT)
        member = tarfile.TarInfo(f"{number:09}.npy")
        data = as_npy(record)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
        if (number + 1) % per_shard == 0:
            tar.close()


def make_mds(folder, case):
    from streaming import MDSWriter
    size = CASES[case][0]
    with MDSWriter(out=str(folder), columns={"data": f"ndarray:uint8:{size}"}) as writer:
        for record in records(case):
            writer.write({"data": numpy.frombuffer(record, numpy.uint8)})


def make(folder):
    for case in CASES:
        place = folder / case
        if (place / "complete").exists():
            continue
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with open(place / "records.bin", "wb") as file:
            file.writelines(records(case))
        make_tars(place / "tar", case)
        make_mds(place / "mds", case)
        (place / "complete").touch()


class Rows(torch.utils.data.Dataset):
    """Map-style, one record at a time, stacked by the default collate function."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return self.array[index]


class RowsOfBatch(Rows):
    """All records of a batch by one call of numpy: the fastest that DataLoader offers for an array."""

    def __getitems__(self, indices):
        return self.array[indices]


def mapped(place, case):
    return numpy.memmap(place / "records.bin", numpy.uint8, "r").reshape(-1, CASES[case][0])


def torch_loader(dataset, batch, workers, **more):
    return torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=workers,
                                       persistent_workers=workers > 0, **more)


def torch_array(place, case, batch, workers):
    return torch_loader(Rows(numpy.array(mapped(place, case))), batch, workers)


def torch_memmap(place, case, batch, workers):
    return torch_loader(Rows(mapped(place, case)), batch, workers)


def torch_memmap_whole_batches(place, case, batch, workers):
    return torch_loader(RowsOfBatch(mapped(place, case)), batch, workers, collate_fn=torch.from_numpy)


def as_tensor(sample):
    """Without numpy's parsing of the header, which would take longer than all the rest."""
    return (torch.frombuffer(bytearray(sample["npy"]), dtype=torch.uint8, offset=NPY_HEADER),)


def webdataset(place, case, batch, workers):
    import webdataset as wds
    shards = sorted(map(str, (place / "tar").glob("*.tar")))
    source = wds.WebDataset(shards, shardshuffle=len(shards), seed=SEED).shuffle(1000).map(as_tensor).batched(batch)
    if workers == 0:
        return source
    return wds.WebLoader(source, batch_size=None, num_workers=workers, persistent_workers=True)


def mosaic(place, case, batch, workers):
    import streaming
    streaming.base.util.clean_stale_shared_memory()
    dataset = streaming.StreamingDataset(local=str(place / "mds"), shuffle=True, batch_size=batch, shuffle_seed=SEED)
    return torch.utils.data.DataLoader(dataset, batch_size=batch, num_workers=workers, persistent_workers=workers > 0)


# contender: (what makes its loader, worker processes)
CONTENDERS = {f"{name}, {workers} workers": (function, workers) for name, function in
              {"torch array": torch_array, "torch memmap": torch_memmap,
               "torch memmap, whole batches": torch_memmap_whole_batches, "webdataset": webdataset,
               "mosaicml-streaming": mosaic}.items() for workers in (0, 2)}


def tensor_of(batch):
    while not isinstance(batch, torch.Tensor):
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch


def endless(loader):
    while True:
        for batch in loader:
            yield tensor_of(batch)


def measure(place, case, name, batch, seconds):
    function, workers = CONTENDERS[name]
    size = CASES[case][0]
    batches = endless(function(place, case, batch, workers))
    until = time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < until:
        data = next(batches)
        assert data.dtype == torch.uint8 and data.shape[1:] == (size,), data
    samples = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        samples += len(next(batches))
    return {"case": case, "contender": name, "batch": batch, "samples_per_second": samples / took,
            "bytes_per_second": samples * size / took, "seconds": took}


def main(action, *arguments):
    if action == "list":
        print("\n".join(CONTENDERS))
    elif action == "make":
        make(pathlib.Path(arguments[0]))
    else:
        folder, case, name, *seconds = arguments
        torch.set_num_threads(1)
        for batch in BATCHES:
            print(json.dumps(measure(pathlib.Path(folder) / case, case, name, batch, float(*seconds or [2]))), flush=True)
        if name.startswith("mosaicml"):
            import streaming
            streaming.base.util.clean_stale_shared_memory()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("make", "run", "list"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
