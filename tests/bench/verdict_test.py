# SPDX-License-Identifier: Apache-2.0
"""What the bench of the collectives makes of its numbers: pairs of one launch, the worst size, honest gaps."""

import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/shared"), str(ROOT / "bench/collectives")]
import page
import verdict
from results import Results

KIB, MIB = 1 << 10, 1 << 20
LIMITS = {"core_bytes_per_second": 20e9, "node_bytes_per_second": 40e9, "line_seconds": 1e-7}


def launch(lines, **more):
    """lines: (contender, bytes, seconds) or (contender, bytes, seconds, case)"""
    keys = ("contender", "bytes", "median", "case")
    found = [{"case": "all_reduce", **dict(zip(keys, line))} for line in lines]
    return {"machine": "a machine", "limits": LIMITS, "lines": [{**line, "p99": 2 * line["median"]} for line in found], **more}


def row_of(launches, criterion):
    return next(row for row in verdict.rows(Results(launches)) if criterion in row.criterion)


class Verdict(unittest.TestCase):
    def test_compares_pairs_of_one_launch(self):
        # The medians of the columns are equal; launch by launch, ours is twice as fast in two of three.
        launches = [launch([("shm_own", KIB, ours), ("openmpi4", KIB, theirs)])
                    for ours, theirs in ((1e-6, 2e-6), (2e-6, 4e-6), (4e-6, 1e-6))]
        row = row_of({"main": launches}, "1 KiB, Backend: faster than best MPI")
        self.assertEqual(row.reached, "2.00× (0.25×–2.00×), 1 KiB, own buffers")
        self.assertEqual(row.verdict, "yes")

    def test_takes_the_fastest_library_of_each_launch(self):
        launches = [launch([("shm_own", KIB, 1e-6), ("openmpi4", KIB, 9e-6), ("intel_pt2pt", KIB, 1.2e-6)])]
        row = row_of({"main": launches}, "1 KiB, Backend: faster than best MPI")
        self.assertTrue(row.reached.startswith("1.20×"), row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_is_decided_by_the_worst_size(self):
        launches = [launch([("shm_own", size, 1e-6) for size in (4 * KIB, 8 * KIB)] +
                           [("mpich5", 4 * KIB, 9e-6), ("mpich5", 8 * KIB, 2e-6)])]
        row = row_of({"main": launches}, "own buffers: faster than best MPI")
        self.assertIn("8 KiB", row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_a_slower_odd_size_fails_never_slower(self):
        launches = [launch([("shm_own", MIB - 4, 1.1e-3), ("shm_ordinary", MIB - 4, 0.9e-3), ("oneccl", MIB - 4, 1e-3)])]
        row = row_of({"odd": launches}, "± one element")
        self.assertIn("own buffers", row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_of_the_limit_uses_the_limits_of_the_same_launch(self):
        # 64 MiB at min(40/4, 20/2) = 10 GB/s take 6.7 ms; on a machine half as fast in that launch, 13.4 ms.
        slow = {"limits": {**LIMITS, "core_bytes_per_second": 10e9, "node_bytes_per_second": 20e9}}
        launches = [launch([("shm_own", 64 * MIB, 64 * MIB / 8e9)]), launch([("shm_own", 64 * MIB, 64 * MIB / 4e9)], **slow)]
        row = row_of({"main": launches}, "of the limit")
        self.assertEqual(row.reached, "80 % (80 %–80 %), 64 MiB")

    def test_beyond_the_limit_only_the_comparison_counts(self):
        # 64 KiB out of a cache, twice as fast as memory allows, but slower than MPI.
        def row(seconds):
            lines = [("shm_own", 64 * KIB, seconds, "all_gather"), ("intel", 64 * KIB, seconds, "all_gather")]
            return row_of({"kinds": [launch(lines)]}, "all_gather, 64 KiB – 64 MiB, own")
        self.assertEqual(row(64 * KIB / 20e9).verdict, "NO")
        self.assertEqual(row(64 * KIB / 9e9).verdict, "yes")

    def test_what_was_not_measured_is_not_met(self):
        self.assertEqual({row.verdict for row in verdict.rows(Results({}))}, {"not measured", "for information"})

    def test_the_recorder_costs_the_difference_of_two_layers(self):
        cost = {"communicator": 150e-9, "communicator_unrecorded": 120e-9, "fingerprint_written_and_compared": 5e-9}
        row = row_of({"cost": [{"machine": "a machine", "cost": cost}]}, "recorder")
        self.assertTrue(row.reached.startswith("30 ns"), row.reached)
        self.assertEqual(row.verdict, "yes")


class Page(unittest.TestCase):
    def test_joins_the_launches_of_a_folder_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for number in (1, 2):
                one = launch([("shm_own", MIB, 1e-4), ("shm_ordinary", MIB, 2e-4), ("openmpi4", MIB, 8e-4)])
                (folder / f"main-{number:02}.json").write_text(json.dumps(one))
            for _ in range(2):  # the second finds the first one's output in the folder
                page.write(folder, str(folder / "2026-01-02-collectives"))
            text = (folder / "2026-01-02-collectives.md").read_text()
            rows = json.loads((folder / "2026-01-02-collectives.json").read_text())["rows"]
        self.assertIn("Launches: main 2, odd 0", text)
        own = next(row for row in rows if row["contender"] == "shm_own")
        self.assertEqual(own["seconds"], [1e-4, 1e-4])
        self.assertEqual(own["algbw"], 1.049e10)
        self.assertEqual(own["busbw"], own["algbw"])  # two ranks


if __name__ == "__main__":
    unittest.main()
