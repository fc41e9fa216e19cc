#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job started by torchrun, on one host and without MPI: the same bits as under lockstep run.

torchrun needs all that PyTorch for Python needs, which cmake/bootstrap leaves out (it is 3.4 GB). So its variables are
set by this test; where a torchrun that works is found, it is used as well.
"""

import os
import subprocess
import sys
import unittest

from main_job import MainJob, PROGRAM, jobs

RANKS = 2


def find_torchrun():
    """The Python of an environment beside ours that can start torchrun, or None."""
    for python in (sys.executable, jobs.ROOT / ".venv/bin/python", jobs.ROOT / ".venv-peers/bin/python"):
        try:
            if subprocess.run([python, "-c", "import torch.distributed.run"], capture_output=True).returncode == 0:
                return str(python)
        except OSError:
            continue
    return None


class Torchrun(MainJob):
    def variables(self, rank, local_ranks=RANKS):
        return {"RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(local_ranks), "GROUP_RANK": "0", "MASTER_ADDR": "localhost",
                "MASTER_PORT": str(20000 + os.getpid() % 40000), "TORCHELASTIC_RUN_ID": "none",
                "TORCHELASTIC_RESTART_COUNT": "0"}

    def start_ranks(self, *more, **variables):
        started = []
        for rank in reversed(range(RANKS)):
            settings = [f"{name}={value}" for name, value in self.variables(rank, **variables).items()]
            started.append(self.place.start("env", *settings, PROGRAM, *self.arguments(*more)))
        return started

    def test_its_variables_make_a_job(self):
        wanted = self.undisturbed()
        for rank in self.start_ranks():
            rank.finish().expect(0)
        record = jobs.run_json(self.folder)
        self.assertEqual((record["backend"], record["world_size"]), ("shm", RANKS))
        self.assertEqual(jobs.sha256(self.folder), wanted)

    def test_without_mpi_there_is_no_backend_mpi(self):
        one, zero = self.start_ranks("comm.backend=mpi")
        zero.finish().expect(2, "error: ", "comm.backend=mpi: ", "without MPI. Fix: ")
        self.assertEqual(one.finish().expect(2).errors(), [])

    def test_several_hosts_are_refused(self):
        for rank in self.start_ranks(local_ranks=1):
            rank.finish().expect(2, "without MPI all must be. Fix: across hosts start them with MPI: mpirun")

    def test_itself_starts_a_job(self):
        python = find_torchrun()
        if python is None:
            self.skipTest("no Python here can import torch.distributed.run")
        wanted = self.undisturbed()
        self.place.run(python, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", RANKS, "--standalone",
                       PROGRAM, *self.arguments(), timeout=120).expect(0)
        self.assertEqual(jobs.sha256(self.folder), wanted)


if __name__ == "__main__":
    unittest.main(verbosity=2)
