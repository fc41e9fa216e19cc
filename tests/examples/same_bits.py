#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""same_bits.py [--steps N] [CELL …]: the main job ends with the same bits, however it is run.

A cell is BACKEND.RANKS.BUCKET, for instance mpi.3.65536; BUCKET "-" is the default number of bytes. nompi is shm with
ranks that were started without MPI. Without a cell, all are run. Four micro-batches and a global batch of 130, which they do not divide.
"""

import argparse

from main_job import MainJob, PROGRAM, jobs

CELLS = [f"{backend}.{ranks}.{bucket}" for backend in ("local", "shm", "mpi", "nompi") for ranks in (1, 2, 3, 4)
         for bucket in ("1", "65536", "-")]


class SameBits(MainJob):
    def digest(self, cell, steps):
        start, ranks, bucket = cell.split(".")
        backend = "shm" if start == "nompi" else start
        folder = self.place / cell
        arguments = self.arguments(f"train.max_steps={steps}", f"comm.backend={backend}", "train.micro_batches=4",
                                   "train.global_batch=130", folder=folder)
        if bucket != "-":
            arguments.append(f"train.bucket_bytes={bucket}")
        launcher = {"local": [], "nompi": [*jobs.NO_MPI, ranks]}.get(start, [*jobs.LOCKSTEP, ranks])
        self.place.run(*launcher, PROGRAM, *arguments, f"run.ranks={ranks}", timeout=600).expect(0)
        record = jobs.run_json(folder)
        self.assertEqual((record["backend"], record["world_size"]), (backend, int(ranks)))
        losses = [(line["step"], line["loss"]) for line in jobs.metrics(folder)]
        return jobs.sha256(folder), losses, record["final"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("cells", nargs="*", metavar="CELL")
    asked = parser.parse_args()
    test = SameBits()
    test.setUp()
    try:
        cells = asked.cells or CELLS
        wanted = test.digest(cells[0], asked.steps)
        print(f"{cells[0]}: {wanted[0]}", flush=True)
        different = 0
        for cell in cells[1:]:
            got = test.digest(cell, asked.steps)
            different += got != wanted
            print(f"{cell}: {got[0]}{'' if got == wanted else ' DIFFERENT sha256, losses or accuracy'}", flush=True)
    finally:
        test.doCleanups()
    raise SystemExit(f"{different} of {len(cells)} differ" if different else 0)


if __name__ == "__main__":
    main()
