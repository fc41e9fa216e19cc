#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lockstep ckpt` as a user runs it: what it tells, what it changes, and its exit codes. Export and import have tests of
their own: exchange_test.py."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import h5py
import numpy

BIN = pathlib.Path(os.environ["LOCKSTEP_BIN"])
DIFFERS, USAGE, IO = 1, 2, 74


def listing(folder):
    """{path: content} of all files below."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.run_folder = self.folder / "run"
        self.checkpoints = self.run_folder / "checkpoints"
        self.checkpoints.mkdir(parents=True)

    def tool(self, *arguments, expect=0):
        run = subprocess.run([BIN / "lockstep", "ckpt", *map(str, arguments)], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, expect, run.stdout + run.stderr)
        return run

    def told(self, *arguments, expect=0):
        return json.loads(self.tool(*arguments, "--json", expect=expect).stdout)

    def refused(self, *arguments, texts):
        """One error with what to do about it; no file is changed."""
        before = listing(self.folder)
        error = self.tool(*arguments, expect=USAGE).stderr
        self.assertEqual(error.count("error: "), 1, error)
        for text in (*texts, "Fix: "):
            self.assertIn(text, error)
        self.assertEqual(listing(self.folder), before)

    def write(self, step, **arrays):
        """A checkpoint with these tensors; returns its folder."""
        file = self.folder / "tensors.h5"
        file.unlink(missing_ok=True)
        with h5py.File(file, "w") as tensors:
            for name, array in (arrays or {"w": numpy.full(100, step, numpy.float32)}).items():
                tensors[name] = array
        self.tool("import", file, self.run_folder, "--step", step, "--group", "model")
        return self.checkpoints / f"step-{step:08}"

    def steps(self):
        return sorted(int(path.name[5:]) for path in self.checkpoints.glob("step-????????"))

    def damage(self, step):
        """Changes a byte of the tensor."""
        path = self.checkpoints / f"step-{step:08}"
        piece = self.told("show", path)["tensors"][0]["pieces"][0]
        flip(path / piece["file"], piece["offset"])


class Ls(Tool):
    def test_lists_what_a_run_folder_holds(self):
        self.write(1)
        self.write(20)
        (self.checkpoints / "step-00000030.tmp-4711-0a1b2c3d").mkdir()
        (self.checkpoints / "step-00000002.damaged-1700000000").mkdir()
        for folder in (self.run_folder, self.checkpoints, f"{self.checkpoints}/"):
            found = self.told("ls", folder)["checkpoints"]
            self.assertEqual([(entry.get("step"), entry["state"]) for entry in found],
                             [(1, "ok"), (20, "ok"), (None, "set aside"), (None, "unfinished")])
        self.assertEqual((found[0]["world_size"], found[0]["micro_batches"], found[0]["metrics"]), (1, 1, {}))
        self.assertGreater(found[0]["bytes"], 400)
        self.assertRegex(found[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIn("step-00000020", self.tool("ls", self.run_folder).stdout)

    def test_finds_a_missing_file_at_once_and_a_changed_byte_by_verify(self):
        self.write(1)
        self.write(2)
        self.damage(1)
        (self.checkpoints / "step-00000002/rank-00000.h5").unlink()
        states = [entry["state"] for entry in self.told("ls", self.run_folder, expect=DIFFERS)["checkpoints"]]
        self.assertEqual(states, ["ok", "damaged"])
        found = self.told("ls", self.run_folder, "--verify", expect=DIFFERS)["checkpoints"]
        self.assertEqual([entry["state"] for entry in found], ["damaged", "damaged"])
        self.assertIn("/model/w", found[0]["why"])
        self.assertIn("rank-00000.h5", found[1]["why"])

    def test_wrong_command_lines_are_usage_errors(self):
        for arguments in (["ls"], ["nothing"], ["ls", self.run_folder, "--nothing"], []):
            self.tool(*arguments, expect=USAGE)
        self.refused("ls", self.folder / "nowhere", texts=["nowhere", "no such folder"])


class Show(Tool):
    def test_tells_tensors_and_where_they_lie(self):
        path = self.write(7, w=numpy.arange(6, dtype=numpy.float64).reshape(2, 3), b=numpy.array(3, numpy.int32))
        found = self.told("show", path)
        self.assertEqual((found["step"], found["world_size"]), (7, 1))
        self.assertEqual([(tensor["name"], tensor["dtype"], tensor["shape"], tensor["bytes"]) for tensor in found["tensors"]],
                         [("/model/b", "int32", [], 4), ("/model/w", "float64", [2, 3], 48)])
        piece = found["tensors"][1]["pieces"][0]
        content = (path / piece["file"]).read_bytes()
        self.assertEqual(content[piece["offset"]:][:48], numpy.arange(6, dtype=numpy.float64).tobytes())
        self.assertIn("/model/w", self.tool("show", self.run_folder).stdout)

    def test_values_are_told_without_those_that_are_not_finite(self):
        self.write(1, w=numpy.array([-2, 0, 4, numpy.nan, -numpy.inf], numpy.float16))
        values = self.told("show", self.run_folder, "--values")["tensors"][0]["values"]
        self.assertEqual((values["min"], values["max"], values["zeros"], values["not_finite"]), (-2, 4, 1, 2))
        self.assertAlmostEqual(values["mean"], 2 / 3)
        self.assertAlmostEqual(values["std"], numpy.std([-2, 0, 4]))

    def test_refuses_a_folder_without_checkpoints(self):
        self.refused("show", self.run_folder, texts=["no checkpoint"])
        self.refused("show", self.checkpoints / "step-00000001", texts=["no such checkpoint"])


class Verify(Tool):
    def test_names_file_and_tensor_of_a_changed_byte(self):
        self.write(1)
        good = self.write(2)
        found = self.told("verify", self.run_folder, "--threads", 2)
        self.assertEqual((len(found["checkpoints"]), found["damaged"]), (2, 0))
        self.damage(1)
        found = self.told("verify", self.run_folder, expect=DIFFERS)
        self.assertEqual(found["damaged"], 1)
        for text in ("step-00000001", "rank-00000.h5", "/model/w"):
            self.assertIn(text, found["checkpoints"][1]["damage"][0])
        self.assertIn("GB/s", self.tool("verify", good).stdout)

    def test_every_damaged_file_is_named(self):
        path = self.write(1)
        self.damage(1)
        flip(path / "index.h5", 9)
        damage = self.told("verify", path, expect=DIFFERS)["checkpoints"][0]["damage"]
        self.assertEqual(len(damage), 2)

    def test_a_missing_checkpoint_is_a_usage_error(self):
        self.refused("verify", self.checkpoints / "step-00000001", texts=["no such folder"])


class Diff(Tool):
    def test_equal_ones_do_not_differ(self):
        self.assertEqual(self.told("diff", self.write(1, w=numpy.ones(3)), self.write(2, w=numpy.ones(3)))["differences"], [])

    def test_tells_each_kind_of_difference(self):
        left = self.write(1, a=numpy.ones(1), b=numpy.ones(2, numpy.float32), c=numpy.ones(2), d=numpy.array([1.0, 2, 3]))
        right = self.write(2, b=numpy.ones(2), c=numpy.ones(3), d=numpy.array([1.0, 2.5, 2]), e=numpy.ones(1))
        found = {entry["name"]: entry for entry in self.told("diff", left, right, expect=DIFFERS)["differences"]}
        self.assertEqual({name: entry["difference"] for name, entry in found.items()},
                         {"/model/a": "only left", "/model/b": "dtype", "/model/c": "shape", "/model/d": "values",
                          "/model/e": "only right"})
        self.assertEqual((found["/model/d"]["differing"], found["/model/d"]["max_abs"]), (2, 1.0))
        text = self.tool("diff", left, right, expect=DIFFERS).stdout
        self.assertIn("2 of 3 elements differ, by up to 1", text)
        self.assertIn("float32 [2] here, float64 [2] there", text)


class Prune(Tool):
    def test_keeps_what_a_rule_keeps(self):
        for step in (10, 20, 25, 30, 40):
            self.write(step)
        arguments = ("prune", self.run_folder, "--keep-last", 2, "--keep-every", 20)
        self.assertEqual(self.told(*arguments, "--dry-run")["removed"], [10, 25])
        self.assertEqual(self.steps(), [10, 20, 25, 30, 40])
        found = self.told(*arguments)
        self.assertEqual((found["removed"], sorted(found["kept"])), ([10, 25], [20, 30, 40]))
        self.assertEqual(self.steps(), [20, 30, 40])

    def test_a_quota_takes_the_oldest(self):
        for step in (1, 2, 3):
            self.write(step)
        two = 2 * self.told("show", self.run_folder)["bytes"]
        self.told("prune", self.run_folder, "--quota", two)
        self.assertEqual(self.steps(), [2, 3])

    def test_a_damaged_newest_one_does_not_stand_for_a_good_one(self):
        for step in (1, 2, 3):
            self.write(step)
        self.damage(3)
        found = self.told("prune", self.run_folder, "--keep-last", 1, expect=DIFFERS)
        self.assertEqual(found["removed"], [1])
        self.assertEqual(self.steps(), [2, 3])

    def test_refuses_to_work_without_a_rule(self):
        self.write(1)
        self.refused("prune", self.run_folder, texts=["no rule"])

    def test_refuses_while_a_job_has_the_run_folder(self):
        self.write(1)
        with open(self.run_folder / "lock", "w") as lock:
            lock.write("process 4711")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refused("prune", self.run_folder, "--keep-last", 1, texts=["a job is using it", "4711"])
            self.refused("repair", self.checkpoints, texts=["a job is using it", "4711"])


class Repair(Tool):
    def test_rebuilds_a_missing_or_damaged_index(self):
        whole = {step: listing(self.write(step)) for step in (1, 2)}
        (self.checkpoints / "step-00000001/index.h5").unlink()
        flip(self.checkpoints / "step-00000002/index.h5", 100)
        self.assertEqual(sorted(self.told("repair", self.run_folder)["rebuilt"]), [1, 2])
        self.assertEqual({step: listing(self.checkpoints / f"step-{step:08}") for step in (1, 2)}, whole)
        self.tool("verify", self.run_folder)
        self.assertEqual((self.checkpoints / "step-00000001/index.h5").stat().st_mode & 0o777, 0o600)

    def test_sets_damaged_ones_aside_and_rewrites_latest(self):
        for step in (1, 2):
            self.write(step)
        self.damage(2)
        (self.checkpoints / "LATEST").write_text("step-00000099\n")
        found = self.told("repair", self.run_folder, expect=DIFFERS)
        self.assertEqual(found["good"], [1])
        aside = pathlib.Path(found["set_aside"][0]["path"])
        self.assertRegex(aside.name, r"^step-00000002\.damaged-\d+$")
        self.assertTrue((aside / "MANIFEST").exists())
        self.assertIn("/model/w", found["set_aside"][0]["why"])
        self.assertEqual((self.checkpoints / "LATEST").read_text(), "step-00000001\n")
        self.tool("repair", self.run_folder)

    def test_removes_what_killed_writers_left(self):
        self.write(1)
        unfinished = self.checkpoints / "step-00000030.tmp-4711-0a1b2c3d"
        unfinished.mkdir()
        (unfinished / "rank-00000.h5").write_bytes(b"half")
        (self.checkpoints / ".trash/step-00000000-12345678").mkdir(parents=True)
        found = self.told("repair", self.run_folder)
        self.assertEqual(sorted(found["removed"]), [".trash", unfinished.name])
        self.assertFalse(unfinished.exists())
        self.assertEqual(self.steps(), [1])


class Launcher(Tool):
    def test_says_when_the_program_beside_it_is_missing(self):
        shutil.copy(BIN / "lockstep", self.folder)
        run = subprocess.run([self.folder / "lockstep", "ckpt", "ls", self.run_folder], capture_output=True, text=True)
        self.assertEqual(run.returncode, USAGE)
        self.assertIn(f"there is no {self.folder}/lockstep-ckpt", run.stderr)


if __name__ == "__main__":
    unittest.main()
