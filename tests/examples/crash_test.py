#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""100 steps, a crash, and 100 steps more on any number of ranks are 200 steps: every bit that a checkpoint holds, and
every loss. With saves that overlap the next step, and old checkpoints that go."""

import json
import os
import signal
import unittest

import h5py

from main_job import MainJob, jobs

STEPS = 200


def manifest(folder, step):
    return json.loads((folder / f"checkpoints/step-{step:08}/MANIFEST").read_text().splitlines()[0])


def tensors(folder, step):
    """Name to bytes, by h5py."""
    values = {}
    with h5py.File(folder / f"checkpoints/step-{step:08}/index.h5") as file:
        file.visititems(lambda name, item: values.update({name: item[()].tobytes()})
                        if isinstance(item, h5py.Dataset) else None)
    return values


class Crash(MainJob):
    options = [f"train.max_steps={STEPS}", "train.epochs=1000", "train.micro_batches=6", "train.global_batch=48",
               "checkpoint.every_steps=10", "checkpoint.overlap=true", "checkpoint.keep_last=3",
               "checkpoint.keep_every=100"]

    def test_other_ranks_go_on_to_the_same_bits(self):
        whole = self.place / "undisturbed"
        self.train(*self.options, folder=whole).expect(0)
        for ranks in (2, 3):
            with self.subTest(ranks=ranks):
                folder = self.place / f"crashed-{ranks}"
                job = self.place.start(*self.command(*self.options, folder=folder))
                job.wait_until(lambda: len(jobs.metrics(folder)) >= STEPS // 2 and jobs.saved_steps(folder), "half of the steps")
                os.kill(jobs.run_json(folder)["ranks"][1]["pid"], signal.SIGKILL)
                job.finish().expect(137)
                self.assertLess(len(jobs.metrics(folder)), STEPS, "the kill came too late to test anything")
                self.train(*self.options, ranks=ranks, folder=folder).expect(0, "resumed from ")
                self.check_equal(whole, folder)

    def check_equal(self, whole, folder):
        self.assertEqual(jobs.sha256(whole), jobs.sha256(folder))
        self.assertEqual(*[[line["loss"] for line in jobs.metrics(run)] for run in (whole, folder)])
        self.assertEqual(*[manifest(run, STEPS)["blobs"] for run in (whole, folder)])  # the loader's position is one
        self.assertEqual(tensors(whole, STEPS), tensors(folder, STEPS))
        self.assertEqual(jobs.checkpoints(folder)[-4:], [f"step-{step:08}" for step in (100, 180, 190, 200)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
