#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's HDF5 files as others see them: h5py, h5dump and h5ls."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy

BIN = pathlib.Path(os.environ["LOCKSTEP_BIN"])
# bfloat16 reads as the next larger float that NumPy has.
DTYPES = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "f4", "int64": "i8", "int32": "i4",
          "int16": "i2", "int8": "i1", "uint8": "u1", "bool": "u1"}
SHAPES = {"whole": (7, 11), "split": (4, 5, 6), "scalar": (), "empty": (3, 0)}


def expected(dtype, shape):
    """Element i is i % 100, or i % 2 (tests/checkpoint/written_parts.hpp)."""
    count = numpy.prod(shape, dtype=int)
    return (numpy.arange(count) % (2 if dtype == "bool" else 100)).astype(DTYPES[dtype]).reshape(shape)


def objects(file):
    """All paths, "/" too."""
    paths = ["/"]
    file.visit(paths.append)
    return paths


class Index(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        subprocess.run([BIN / "index_program", self.folder], check=True)

    def open(self, name="index.h5"):
        return self.enterContext(h5py.File(self.folder / name))

    def test_every_tensor_of_every_dtype_is_whole(self):
        file = self.open()
        for kind, shape in SHAPES.items():
            for dtype in DTYPES:
                with self.subTest(kind=kind, dtype=dtype):
                    dataset = file[f"/{kind}/{dtype}"]
                    self.assertEqual(dataset.shape, shape)
                    numpy.testing.assert_array_equal(dataset[()], expected(dtype, shape), strict=True)
        numpy.testing.assert_array_equal(file["/large"][()], expected("float32", (300, 101)), strict=True)
        numpy.testing.assert_array_equal(file["/模型/层.0/权重"][()], expected("float32", (2, 2)), strict=True)

    def test_booleans_say_that_they_are(self):
        file = self.open()
        for kind in SHAPES:
            self.assertEqual(file[f"/{kind}/bool"].attrs["lockstep_dtype"], "bool")
            self.assertNotIn("lockstep_dtype", file[f"/{kind}/uint8"].attrs)

    def test_names_are_those_of_tensors_and_nothing_else(self):
        names = [f"{kind}/{dtype}" for kind in SHAPES for dtype in DTYPES] + ["large", "模型/层.0/权重"]
        groups = ["/", *SHAPES, "模型", "模型/层.0"]
        self.assertCountEqual(objects(self.open()), names + groups)

    def test_it_is_found_from_another_folder(self):
        script = f"import h5py; print(h5py.File({str(self.folder / 'index.h5')!r})['/split/int16'][3, 4, 5])"
        with tempfile.TemporaryDirectory() as elsewhere:
            shutil.copy(self.folder / "index.h5", pathlib.Path(elsewhere) / "rank-00000.h5")  # no source
            text = subprocess.run([sys.executable, "-c", script], cwd=elsewhere,
                                  check=True, capture_output=True, text=True).stdout
        self.assertEqual(int(text), 19)

    def test_it_may_be_moved_with_its_folder(self):
        moved = self.folder.with_name(self.folder.name + "-moved")
        shutil.copytree(self.folder, moved)
        self.addCleanup(shutil.rmtree, moved)
        shutil.move(self.folder / "rank-00001.h5", self.folder / "away")
        with h5py.File(moved / "index.h5") as file:
            numpy.testing.assert_array_equal(file["/split/int32"][()], expected("int32", (4, 5, 6)))

    def test_what_a_missing_file_held_is_nan_or_zero(self):
        (self.folder / "rank-00002.h5").unlink()  # element 37
        file = self.open()
        for dtype, numpy_dtype in DTYPES.items():
            with self.subTest(dtype=dtype):
                want = expected(dtype, (120,))
                want[37] = numpy.nan if numpy_dtype.startswith("f") else 0
                numpy.testing.assert_array_equal(file[f"/split/{dtype}"][()].ravel(), want, strict=True)
        (self.folder / "rank-00001.h5").unlink()
        self.assertTrue(numpy.isnan(file["/scalar/float32"][()]))

    def test_parts_hold_runs_in_one_dimension(self):
        runs = numpy.concatenate([numpy.arange(37), numpy.arange(88, 120) % 100])
        numpy.testing.assert_array_equal(self.open("rank-00000.h5")["/split/int64"][()], runs)

    def test_nothing_has_a_time_stamp(self):
        for name in ["index.h5", "rank-00000.h5", "rank-00001.h5"]:
            file = self.open(name)
            for path in objects(file):
                self.assertEqual(h5py.h5g.get_objinfo(file.id, path.encode()).mtime, 0, f"{name} {path}")

    def test_equal_contents_give_equal_bytes(self):
        with tempfile.TemporaryDirectory() as other:
            # What was in freed memory must not get into a file.
            subprocess.run([BIN / "index_program", other], check=True, env=os.environ | {"MALLOC_PERTURB_": "173"})
            for path in self.folder.iterdir():
                self.assertEqual(path.read_bytes(), (pathlib.Path(other) / path.name).read_bytes(), path.name)

    @unittest.skipUnless(shutil.which("h5dump") and shutil.which("h5ls"), "no hdf5-tools")
    def test_h5dump_and_h5ls_show_it(self):
        def output(*command):
            return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
        index = self.folder / "index.h5"
        for dtype in ["bfloat16", "float16", "uint8"]:
            shown = output("h5dump", "-y", "-d", f"/split/{dtype}", index)
            self.assertIn("90, 91, 92, 93, 94, 95,", shown)
        listing = output("h5ls", "-r", index)
        self.assertRegex(listing, r"/split/bfloat16 +Dataset \{4, 5, 6\}")
        self.assertRegex(listing, r"/scalar/float32 +Dataset \{SCALAR\}")
        self.assertRegex(output("h5ls", "-r", self.folder / "rank-00001.h5"), r"/split/bool +Dataset \{50\}")
        self.assertIn('DATASET "bfloat16"', output("h5dump", "-H", index))


if __name__ == "__main__":
    unittest.main(verbosity=2)
