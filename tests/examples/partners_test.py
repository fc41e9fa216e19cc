#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on the nodes: a job whose ranks are killed, and one node's folder lost, goes on from what the other holds,
which is newer than the run folder's."""

import os
import shutil
import signal
import unittest

from main_job import MainJob, jobs


class Partners(MainJob):
    options = ["train.max_steps=60", "train.epochs=1000", "train.global_batch=32", "checkpoint.every_steps=2",
               "checkpoint.flush_every=100", "train.micro_batches=4", "comm.backend=nodes"]

    def setUp(self):
        super().setUp()
        self.place.environment["LOCKSTEP_VIRTUAL_NODES"] = "2"
        self.local = self.place / "local"

    def nodes(self):
        return sorted(path.name for run in self.local.iterdir() for path in run.iterdir())

    def test_the_loss_of_a_node_costs_nothing(self):
        wanted = self.undisturbed(*self.options)
        options = [*self.options, f"checkpoint.local_dir={self.local}"]
        job = self.place.start(*self.command(*options, ranks=4))
        job.wait_until(lambda: len(jobs.metrics(self.folder)) >= 20, "step 20")
        os.kill(jobs.run_json(self.folder)["ranks"][1]["pid"], signal.SIGKILL)
        job.finish().expect(137)
        self.assertEqual(jobs.checkpoints(self.folder), [], "only the nodes have checkpoints so far")
        self.assertEqual(self.nodes(), ["node-0", "node-1"])
        shutil.rmtree(next(self.local.iterdir()) / "node-0")

        result = self.train(*options, ranks=4).expect(0, f"resumed from {self.local}/")
        self.assertEqual(jobs.sha256(self.folder), wanted, str(result))
        self.assertEqual(jobs.checkpoints(self.folder), ["step-00000060"], "the last goes to the run folder")

    def test_a_run_begun_anew_does_not_resume_from_the_nodes(self):
        options = [*self.options, f"checkpoint.local_dir={self.local}"]
        self.train(*options, "train.max_steps=6", ranks=4).expect(0)
        shutil.rmtree(self.folder)
        self.assertNotIn("resumed", self.train(*options, "train.max_steps=6", ranks=4).expect(0).output)

    def test_one_node_is_refused(self):
        self.place.environment["LOCKSTEP_VIRTUAL_NODES"] = "1"
        result = self.train(*self.options, f"checkpoint.local_dir={self.local}").expect(2)
        self.assertEqual(len(result.errors()), 1, str(result))
        self.assertIn("two nodes", result.errors()[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
