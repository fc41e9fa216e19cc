#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bundle, made of a build and unpacked elsewhere, runs in an empty environment with nothing but a python3 that has torch:
without a GPU every step says why it is skipped. usage: bundle_test.py BUILD SITE_PACKAGES"""

import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
BUILD, SITE = sys.argv.pop(1), sys.argv.pop(1)
MIB = 1 << 20


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        tar = cls.folder / "bundle.tar.gz"
        cls.made = subprocess.run([sys.executable, HERE / "bundle", tar, "--build", BUILD], capture_output=True, text=True)
        if cls.made.returncode == 0:
            cls.tar_bytes = tar.stat().st_size
            with tarfile.open(tar) as file:
                file.extractall(cls.folder / "unpacked")
            cls.bundle = cls.folder / "unpacked/lockstep-gpu"

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def setUp(self):
        self.assertEqual(self.made.returncode, 0, self.made.stdout + self.made.stderr)

    def run_bundle(self, *arguments, site=SITE):
        # No other variable: nothing of the build machine may help.
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": site}
        return subprocess.run([sys.executable, self.bundle / "run", *arguments], cwd=self.folder, env=env,
                              capture_output=True, text=True, timeout=280)

    def test_is_small_and_knows_what_it_needs(self):
        self.assertLessEqual(self.tar_bytes, 60 * MIB)
        manifest = json.loads((self.bundle / "manifest.json").read_text())
        self.assertRegex(manifest["torch"], r"^\d+\.\d+\.\d+")
        programs = {path.name for path in (self.bundle / "bin").iterdir()}
        self.assertLessEqual({"lockstep", "nccl_gpu_rank_test", "ddp_gpu_rank_test", "staged_gpu_rank_test",
                              "bench_gpu_overhead", "bench_gpu_training"}, programs)

    def test_holds_nothing_that_the_host_has(self):
        names = {path.name for path in self.bundle.rglob("*.so*")}
        for part in ("libc.so", "libtorch", "libc10", "libcuda", "libnccl", "libcublas"):
            self.assertFalse([name for name in names if name.startswith(part)], part)

    def test_runs_every_step_and_reports_it(self):
        ran = self.run_bundle("--output", str(self.folder / "all"))
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        report = json.loads((self.folder / "all.json").read_text())
        results = {step["name"]: step["result"] for step in report["steps"]}
        if report["host"]["gpus"]:
            self.assertIn("passed", results.values())
            return
        self.assertLessEqual(set(results.values()), {"skipped", "not there"}, results)
        self.assertEqual(results["nccl_gpu_rank_test.np2"], "skipped")
        for step in report["steps"]:
            self.assertTrue(step["skipped_because"], step["name"])

    def test_runs_only_what_was_asked_for(self):
        ran = self.run_bundle("--only", "adamw", "--output", str(self.folder / "one"))
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        self.assertEqual([step["name"] for step in json.loads((self.folder / "one.json").read_text())["steps"]], ["adamw"])

    def test_refuses_another_torch_with_both_numbers(self):
        site = self.folder / "other"
        (site / "torch").mkdir(parents=True, exist_ok=True)
        (site / "torch/__init__.py").touch()
        (site / "torch/version.py").write_text("__version__ = '1.2.3+cu130'\ncuda: str = '13.0'\n")
        ran = self.run_bundle(site=str(site))
        self.assertEqual(ran.returncode, 2)
        self.assertRegex(ran.stderr, r"torch 1\.2\.3.*LibTorch \d+\.\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
