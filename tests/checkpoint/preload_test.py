# SPDX-License-Identifier: Apache-2.0
"""preload_test.py PROGRAM SHIM: jobs of two processes in which file_shim, preloaded into one, kills it, makes its calls
fail or their locks, as environment alone can tell it; restarts are processes of their own. The standard library only."""

import errno
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import uuid

PROGRAM, SHIM = sys.argv[1:3]
TIMEOUT = 60


def run_job(folder, last_step, shim="", shim_rank=1):
    """Exit codes and texts of two ranks; `shim` is the mode of the one of `shim_rank`."""
    job = uuid.uuid4().hex
    ranks = []
    for rank in range(2):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE="2", LOCKSTEP_RENDEZVOUS=job)
        if shim and rank == shim_rank:
            environment |= {"LD_PRELOAD": SHIM, "LOCKSTEP_SHIM_FOLDER": str(folder), "LOCKSTEP_SHIM": shim}
        command = [PROGRAM, str(folder / "checkpoints"), str(last_step)]
        ranks.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    texts = [rank.communicate(timeout=TIMEOUT)[1] for rank in ranks]
    return [rank.returncode for rank in ranks], texts


def found_step(folder):
    result = subprocess.run([PROGRAM, str(folder / "checkpoints")], capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stdout + result.stderr
    return int(result.stdout.split()[0])


class Preload(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def test_a_killed_rank_ends_the_job_and_the_next_goes_on(self):
        self.assertEqual(run_job(self.folder, 1)[0], [0, 0])
        for rank, call in ((1, 2), (0, 9), (0, 16)):
            step = found_step(self.folder)
            codes, texts = run_job(self.folder, step + 1, f"kill:{call}", rank)
            self.assertEqual(codes[rank], -9, texts)
            self.assertEqual(codes[1 - rank], 1, texts)
            self.assertIn(found_step(self.folder), (step, step + 1))
        self.assertEqual(run_job(self.folder, 9)[0], [0, 0])
        self.assertEqual(found_step(self.folder), 9)

    def test_a_full_disk_is_told_by_all_ranks(self):
        self.assertEqual(run_job(self.folder, 1)[0], [0, 0])
        codes, texts = run_job(self.folder, 2, f"fail:0:{errno.ENOSPC}")
        self.assertEqual(codes, [1, 1])
        for text in texts:
            self.assertIn("No space left on device", text)
            self.assertIn("rank 1", text)
        self.assertEqual(found_step(self.folder), 1)

    def test_locks_are_not_needed(self):
        self.assertEqual(run_job(self.folder, 2, "nolocks")[0], [0, 0])
        self.assertEqual(found_step(self.folder), 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
