# SPDX-License-Identifier: Apache-2.0
"""What the tests of examples/fashion_mnist share: the program, and a small data set for it."""

import pathlib
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import jobs  # noqa: E402

import idx_files  # noqa: E402

PROGRAM = jobs.BIN / "fashion_mnist"


class MainJob(unittest.TestCase):
    """Each test has a workplace; the shards are made once, by the first job."""

    def setUp(self):
        self.place = jobs.Workplace()
        self.addCleanup(self.place.__exit__)
        self.source = idx_files.write(self.place / "idx")
        self.folder = self.place / "run"

    def arguments(self, *more, folder=None):
        return [f"run.dir={folder or self.folder}", f"data.path={self.place / 'data'}", f"data.source={self.source}",
                "train.global_batch=64", "train.max_steps=12", "checkpoint.every_steps=5", "log.every_steps=1",
                *more]

    def command(self, *more, ranks=2, folder=None):
        return [*jobs.LOCKSTEP, ranks, PROGRAM, *self.arguments(*more, folder=folder)]

    def train(self, *more, ranks=2, folder=None):
        return self.place.run(*self.command(*more, ranks=ranks, folder=folder))

    def undisturbed(self, *more):
        """The digest of the parameters that the same job ends with when nobody disturbs it."""
        folder = self.place / "undisturbed"
        self.train(*more, folder=folder).expect(0)
        return jobs.sha256(folder)
