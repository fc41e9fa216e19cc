#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stopping the main job in the middle: whatever is asked or done to it, the next start ends with the undisturbed bits."""

import os
import re
import signal
import time
import unittest

from main_job import MainJob, jobs

PROMISE = 5  # seconds from the death of a rank to the end of the job
SLACK = 5  # for a busy machine


class Stop(MainJob):
    # Enough steps that nobody gets to the last one before the signal.
    options = ["train.max_steps=60", "train.epochs=100", "train.global_batch=32", "checkpoint.every_steps=4"]
    wanted = None  # the same in every workplace

    def setUp(self):
        super().setUp()
        Stop.wanted = Stop.wanted or self.undisturbed(*self.options)

    def start(self, output=None):
        """A job that has passed its first checkpoint."""
        job = self.place.start(*self.command(*self.options), output=output)
        job.wait_until(lambda: len(jobs.metrics(self.folder)) >= 6 and jobs.saved_steps(self.folder), "step 6")
        return job

    def pid_of(self, rank):
        return jobs.run_json(self.folder)["ranks"][rank]["pid"]

    def check_saved(self, result):
        result.expect(75)
        step = int(re.search(r"stopped on request after step (\d+)", result.output)[1])
        self.assertEqual(jobs.checkpoints(self.folder)[-1], f"step-{step:08}")
        self.assertEqual(jobs.metrics(self.folder)[-1]["step"], step)
        self.assertLess(step, 60, "the signal came too late to test anything")
        self.check_resumes(step)

    def check_resumes(self, step=None):
        self.assertEqual(self.place.leftovers(), [])
        result = self.train(*self.options).expect(0, "resumed from ")
        if step is not None:
            self.assertIn(f"step-{step:08}", result.output)
        self.assertEqual(jobs.sha256(self.folder), self.wanted)

    def test_saves_on_sigusr1_to_one_rank(self):
        job = self.start()
        os.kill(self.pid_of(1), signal.SIGUSR1)
        self.check_saved(job.finish())

    def test_saves_on_sigterm_to_one_rank(self):
        job = self.start()
        os.kill(self.pid_of(0), signal.SIGTERM)
        self.check_saved(job.finish())

    def test_saves_on_the_first_interrupt_of_the_launcher(self):
        job = self.start()
        job.signal(signal.SIGINT)
        result = job.finish()
        self.assertIn("lockstep: saved; start it again to go on\n", result.output)
        self.check_saved(result)

    def test_saves_when_its_terminal_is_closed(self):
        reader, writer = os.pipe()
        job = self.start(output=writer)
        os.close(writer)
        os.close(reader)  # from here on nothing can be printed
        job.signal(signal.SIGHUP)
        job.finish().expect(75)
        self.check_resumes(jobs.metrics(self.folder)[-1]["step"])

    def test_ends_and_names_a_rank_that_was_killed(self):
        job = self.start()
        killed = time.time()
        os.kill(self.pid_of(1), signal.SIGKILL)
        result = job.finish().expect(137, "lockstep: rank 1 was killed by signal 9")
        self.assertLess(result.ended - killed, PROMISE + SLACK)
        self.assertEqual(len(result.errors()), 1, str(result))
        self.check_resumes()


if __name__ == "__main__":
    unittest.main(verbosity=2)
