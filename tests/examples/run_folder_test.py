#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job from beginning to end: what its run folder holds, that it resumes, and that others can read it."""

import re
import subprocess
import tomllib
import unittest

import h5py  # installed by cmake/bootstrap --tests
import numpy

from main_job import MainJob, jobs

# As PyTorch's state_dict() would name and shape them.
PARAMETERS = {
    "conv1.weight": (32, 1, 3, 3), "conv1.bias": (32,),
    "conv2.weight": (64, 32, 3, 3), "conv2.bias": (64,),
    "fc1.weight": (128, 3136), "fc1.bias": (128,),
    "fc2.weight": (10, 128), "fc2.bias": (10,),
}


class RunFolder(MainJob):
    def test_holds_everything_of_the_run(self):
        result = self.train().expect(0, "accuracy 0.", "parameters sha256 ", f"results in {self.folder}\n")
        files = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        names = ("MANIFEST", "index.h5", "rank-00000.h5", "rank-00001.h5")
        saved = {f"checkpoints/step-{step:08}/{name}" for step in (5, 10, 12) for name in names}
        self.assertEqual(files, saved | {"checkpoints/LATEST", "config.toml", "run.json", "metrics.jsonl", "lock", "logs/rank-0.log",
                                         "logs/rank-1.log"})
        config = tomllib.loads((self.folder / "config.toml").read_text())
        self.assertEqual((config["train"]["max_steps"], config["train"]["lr"]), (12, 0.05))
        self.check_record(result)
        self.check_metrics()

    def check_record(self, result):
        record = jobs.run_json(self.folder)
        self.assertEqual(record["schema_version"], 1)
        self.assertEqual(record["determinism"].keys(),
                         {"micro_batches", "intra_op_threads", "libtorch", "cpu_capability", "device"})
        self.assertEqual([rank["rank"] for rank in record["ranks"]], [0, 1])
        self.assertEqual([rank.keys() for rank in record["ranks"]], [{"rank", "host", "pid"}] * 2)
        self.assertEqual(record["final"]["step"], 12)
        self.assertIn(f"parameters sha256 {record['final']['parameters_sha256']}\n", result.output)
        said = float(re.search(r"^accuracy (\S+)$", result.output, re.MULTILINE)[1])
        self.assertAlmostEqual(record["final"]["accuracy"], said, places=4)

    def check_metrics(self):
        lines = jobs.metrics(self.folder)
        self.assertEqual([line["step"] for line in lines], list(range(1, 13)))
        self.assertEqual([line["epoch"] for line in lines], [0] * 10 + [1] * 2)  # 600 samples are ten steps
        self.assertEqual([line["lr"] for line in lines], [0.05] * 12)
        self.assertTrue(all(line["samples_per_second"] > 0 for line in lines))
        self.assertLess(lines[-1]["loss"], lines[0]["loss"])

    def test_resumes_and_says_when_nothing_is_left(self):
        undisturbed = self.undisturbed()
        self.train("train.max_steps=7").expect(0)
        self.train().expect(0, f"resumed from {self.folder}/checkpoints/step-00000007\n")
        self.assertEqual(jobs.sha256(self.folder), undisturbed)
        self.assertEqual([line["step"] for line in jobs.metrics(self.folder)], list(range(1, 13)))
        self.assertEqual([start["from_step"] for start in jobs.run_json(self.folder)["starts"]], [0, 7])

        self.train().expect(0, "nothing left to train: step 12 of 12 is done")
        self.assertEqual(jobs.sha256(self.folder), undisturbed)

    def test_says_that_nothing_is_left_only_if_it_did_nothing(self):
        # The last step is one that is saved anyway.
        result = self.train("train.max_steps=10").expect(0)
        self.assertNotIn("nothing left to train", result.output)


class Checkpoint(MainJob):
    def setUp(self):
        super().setUp()
        self.train().expect(0)
        self.file = self.folder / "checkpoints/step-00000012/index.h5"

    def test_is_read_by_h5py_under_pytorch_names(self):
        with h5py.File(self.file) as file:
            for name, shape in PARAMETERS.items():
                for path in (f"model/{name}", f"optimizer/{name}/momentum_buffer"):
                    with self.subTest(path):
                        values = file[path][()]
                        self.assertEqual((values.shape, values.dtype), (shape, numpy.float32))
                        self.assertTrue(numpy.isfinite(values).all())
                        self.assertTrue(values.any(), "all zeros")

    def test_is_read_by_h5dump(self):
        text = subprocess.run(["h5dump", "-H", self.file], check=True, capture_output=True, text=True).stdout
        for name in PARAMETERS:
            self.assertIn(f'DATASET "{name}" {{', text)
        self.assertEqual(text.count('DATASET "momentum_buffer" {'), len(PARAMETERS), text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
