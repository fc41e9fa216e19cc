#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input to the main job: one clear error, the documented code, and a run folder as it was."""

import re
import shutil
import signal
import unittest

from main_job import MainJob, PROGRAM, jobs

USAGE, IO = 2, 74


class BadInput(MainJob):
    def check_refused(self, result, code, *texts):
        """Two ranks meet the error; it is said once, with who and what to do about it."""
        result.expect(code)
        errors = result.errors()
        self.assertEqual(len(errors), 1, str(result))
        for text in texts:
            self.assertIn(text, errors[0])
        self.assertIn("Fix: ", errors[0])
        self.assertEqual(self.place.leftovers(), [])

    def check_refused_untouched(self, code, *texts, more=(), ranks=2, command=None):
        before = jobs.listing(self.folder)
        result = self.place.run(*command) if command else self.train(*more, ranks=ranks)
        self.check_refused(result, code, *texts)
        self.assertEqual(jobs.listing(self.folder), before)

    def newest(self):
        return self.folder / "checkpoints" / jobs.checkpoints(self.folder)[-1] / "rank-00001.h5"

    def damage(self, path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def test_unknown_key_with_the_nearest_name(self):
        self.check_refused_untouched(USAGE, "train.max_stepz", "train.max_steps", more=["train.max_stepz=3"])

    def test_value_of_the_wrong_type(self):
        self.check_refused_untouched(USAGE, "train.lr", "fast", more=["train.lr=fast"])

    def test_no_data(self):
        missing = self.place / "nowhere"
        self.check_refused_untouched(USAGE, f"data.source={missing}", more=[f"data.source={missing}"])

    def test_truncated_shard(self):
        self.train().expect(0)
        shard = sorted((self.place / "data/train").glob("shard-*"))[3]
        shard.write_bytes(shard.read_bytes()[:-1000])
        self.check_refused_untouched(USAGE, shard.name, more=["train.max_steps=24"])

    def test_no_good_checkpoint(self):
        self.train("checkpoint.every_steps=0").expect(0)
        self.damage(self.newest())
        self.check_refused_untouched(IO, "step-00000012", "none is good", more=["train.max_steps=24"])

    def test_damaged_checkpoint_with_an_older_good_one(self):
        undisturbed = self.undisturbed()
        self.train().expect(0)
        self.damage(self.newest())
        result = self.train().expect(0, "warning: ", "going on from step 10")
        self.assertEqual(jobs.sha256(self.folder), undisturbed)
        aside = [name for name in jobs.checkpoints(self.folder) if re.fullmatch(r"step-00000012\.damaged-\d+", name)]
        self.assertEqual(len(aside), 1, jobs.checkpoints(self.folder))
        self.assertIn(f"renamed to {aside[0]}", result.output)

    def test_second_job_on_the_same_run_folder(self):
        first = self.place.start(*self.command("train.max_steps=100000", "train.epochs=100000"))
        first.wait_until(lambda: jobs.metrics(self.folder), "its first step")
        second = self.train()
        self.assertIsNone(first.process.poll(), "the first job should go on")
        first.signal(signal.SIGINT)
        first.finish().expect(75)
        self.check_refused(second, USAGE, str(self.folder), "another job is using it")
        self.train("train.max_steps=1").expect(0)  # and is not locked for ever

    def test_other_learning_rate_at_resume(self):
        self.train().expect(0)
        more = ["train.lr=0.1", "train.max_steps=14"]
        self.check_refused_untouched(USAGE, "train.lr: 0.05 -> 0.1", "resume.allow_changes=true", more=more)
        self.train(*more, "resume.allow_changes=true").expect(0, "changed at step 12: train.lr: 0.05 -> 0.1")
        start = jobs.run_json(self.folder)["starts"][-1]
        self.assertEqual((start["from_step"], start["changes"]), (12, ["train.lr: 0.05 -> 0.1"]))
        self.assertEqual([line["lr"] for line in jobs.metrics(self.folder)][-3:], [0.05, 0.1, 0.1])

    def test_more_ranks_than_micro_batches(self):
        self.check_refused(self.train("train.micro_batches=2", ranks=3), USAGE, "3 ranks for 2 micro-batches")
        self.train().expect(0)
        self.check_refused_untouched(USAGE, "3 ranks for 2 micro-batches", "run.json", ranks=3)

    def test_no_ranks(self):
        for command in ([*jobs.LOCKSTEP, 0, PROGRAM], [PROGRAM, "run.ranks=0", "comm.backend=local"],
                        [jobs.ROOT / "examples/fashion_mnist/run", "run.ranks=0"],
                        [jobs.ROOT / "examples/fashion_mnist/run", "run.ranks=two"]):
            with self.subTest(command):
                result = self.place.run(*command, *([] if command[0] == jobs.LOCKSTEP[0] else self.arguments()))
                result.expect(USAGE)
                self.assertEqual(len(result.output.splitlines()), 1, str(result))
        self.assertFalse(self.folder.exists())

    def test_another_net_than_in_the_checkpoint(self):
        command = [*jobs.LOCKSTEP, 2, jobs.BIN / "fault_program", f"run.dir={self.folder}"]
        self.place.run(*command, "train.max_steps=3").expect(0)
        self.check_refused_untouched(IO, "/model/hidden.", "has [16", "program [32",
                                     command=[*command, "train.max_steps=6", "net.width=32"])

    def test_batch_that_the_micro_batches_do_not_divide_is_fine(self):
        self.train("train.global_batch=131", "train.micro_batches=3").expect(0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
