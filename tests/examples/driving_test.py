#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The generator of the driving sample: what it writes, read with tarfile, numpy and h5py."""

import io
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import unittest

import h5py
import numpy

PROGRAM = pathlib.Path(os.environ["LOCKSTEP_BIN"]) / "driving_generate"
FIELDS = {f"cam_{where}.jpg" for where in
          ("front", "front_left", "front_right", "rear", "rear_left", "rear_right")} | {"lidar.npy", "meta.json", "pose.npy"}


def generate(folder, *options):
    return subprocess.run([PROGRAM, folder, "--logs=2", "--frames=12", "--height=48", "--width=64", "--shards=2", *options],
                          capture_output=True, text=True, timeout=120)


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def frames_of(folder):
    """Key to fields, in the order of the shards."""
    frames = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, field = member.name.partition(".")
                frames.setdefault(key, {})[field] = tar.extractfile(member).read()
    return frames


class Driving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.place.name) / "drives"
        result = generate(cls.folder)
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.place.cleanup()

    def test_the_same_seed_gives_the_same_bytes(self):
        again = self.folder.parent / "again"
        other = self.folder.parent / "other"
        self.assertEqual(generate(again).returncode, 0)
        self.assertEqual(generate(other, "--seed=1").returncode, 0)
        self.assertEqual(files_below(self.folder), files_below(again))
        self.assertNotEqual(files_below(self.folder)["highway/shard-00000.tar"],
                            files_below(other)["highway/shard-00000.tar"])

    def test_every_frame_has_every_field(self):
        for source in "highway", "city":
            for key, fields in frames_of(self.folder / source).items():
                self.assertEqual(set(fields), FIELDS, key)
                for name, content in fields.items():
                    if name.endswith(".jpg"):
                        self.assertEqual((content[:2], content[-2:]), (b"\xff\xd8", b"\xff\xd9"))
                lidar = numpy.load(io.BytesIO(fields["lidar.npy"]))
                self.assertEqual((lidar.dtype, lidar.shape[1]), (numpy.float32, 4))
                self.assertEqual(numpy.load(io.BytesIO(fields["pose.npy"])).shape, (7,))
                self.assertEqual(json.loads(fields["meta.json"])["source"], source)

    def test_the_highway_is_kept_whole_and_the_city_in_clips(self):
        highway = [json.loads(fields["meta.json"]) for fields in frames_of(self.folder / "highway").values()]
        self.assertEqual([(one["log"], one["frame"]) for one in highway], [(log, i) for log in (0, 1) for i in range(12)])
        self.assertAlmostEqual(highway[3]["time"], 0.3)  # 10 Hz
        city = [json.loads(fields["meta.json"]) for fields in frames_of(self.folder / "city").values()]
        self.assertEqual({one["trigger"] for one in city}, {"close_vehicle"})
        self.assertEqual({one["log"] for one in city}, {0, 1})
        self.assertGreater(max(one["frame"] for one in city), 12)

    def test_points_of_the_lidar_differ_in_number(self):
        counts = {len(fields["lidar.npy"]) for fields in frames_of(self.folder / "highway").values()}
        self.assertGreater(len(counts), 4)

    def test_parking_is_hdf5(self):
        shards = sorted((self.folder / "parking").glob("*.h5"))
        self.assertEqual(len(shards), 2)
        with h5py.File(shards[0]) as file:
            self.assertEqual(file["cam_front"].shape, (12, 48, 64, 3))
            self.assertEqual(file["lidar"].shape, (12, 512, 4))
            self.assertEqual(list(file["log"]), [0] * 12)  # a shard a log
            self.assertAlmostEqual(file["time"][1], 0.5)  # 2 Hz

    def test_a_folder_that_is_there_is_left_alone(self):
        before = files_below(self.folder)
        result = generate(self.folder)
        self.assertEqual(result.returncode, 2)
        self.assertIn("Fix: ", result.stderr)
        self.assertEqual(files_below(self.folder), before)


if __name__ == "__main__":
    unittest.main()
