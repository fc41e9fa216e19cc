#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/driving: three sources of two formats train to the same bits on any number of ranks, also after kill -9."""

import os
import pathlib
import signal
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import jobs  # noqa: E402

SOURCES = pathlib.Path(__file__).resolve().parents[2] / "examples/driving/sources.toml"


class DrivingTrain(unittest.TestCase):
    def setUp(self):
        self.place = jobs.Workplace()
        self.addCleanup(self.place.__exit__)
        data = self.place / "data"
        self.place.run(jobs.BIN / "driving_generate", data, "--logs=2", "--frames=30", "--shards=2", "--height=48",
                       "--width=64").expect(0)
        self.sources = self.place / "sources.toml"
        self.sources.write_text(SOURCES.read_text().replace("../../data/driving", str(data)))

    def command(self, ranks, folder, steps=8, threads=2):
        return [*jobs.LOCKSTEP, ranks, jobs.BIN / "driving_train", f"run.dir={folder}", f"data.path={self.sources}",
                f"data.threads={threads}", "train.global_batch=12", "train.micro_batches=6", "train.epochs=1000",
                f"train.max_steps={steps}", "checkpoint.every_steps=2", "log.every_steps=1"]

    def digest(self, ranks, threads=2):
        folder = self.place / f"run-{ranks}"
        self.place.run(*self.command(ranks, folder, threads=threads)).expect(0)
        return jobs.sha256(folder)

    def test_one_two_and_three_ranks_end_with_the_same_parameters(self):
        self.assertEqual({self.digest(1), self.digest(2, threads=1), self.digest(3)}, {self.digest(1)})

    def test_a_killed_run_ends_with_the_parameters_of_an_undisturbed_one_on_another_number_of_ranks(self):
        folder = self.place / "killed"
        job = self.place.start(*self.command(2, folder, steps=150))
        job.wait_until(lambda: len(jobs.metrics(folder)) >= 6 and jobs.saved_steps(folder), "step 6")
        os.kill(jobs.run_json(folder)["ranks"][1]["pid"], signal.SIGKILL)
        self.assertNotEqual(job.finish().code, 0)
        self.assertLess(jobs.saved_steps(folder)[-1], 150, "the kill came too late to test anything")
        self.assertEqual(self.place.leftovers(), [])
        whole = self.place / "whole"
        self.place.run(*self.command(1, whole, steps=150)).expect(0)
        self.place.run(*self.command(3, folder, steps=150)).expect(0, "resumed from ")
        self.assertEqual(jobs.sha256(folder), jobs.sha256(whole))


if __name__ == "__main__":
    unittest.main()
