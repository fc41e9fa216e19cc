# SPDX-License-Identifier: Apache-2.0
"""What the bench of the data layer makes of its numbers: ratios round by round, the worst case, honest gaps."""

import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/shared"), str(ROOT / "bench/data")]
import page

TAR, HDF5 = "lockstep tar, 2 threads", "lockstep hdf5, 2 threads"


def line(case, contender, batch, samples):
    size = {"D1": 2048, "D2": 100_000}[case]
    return {"case": case, "contender": contender, "batch": batch, "samples_per_second": samples,
            "bytes_per_second": samples * size, "seconds": 2}


def rounds(*of_lines):
    return [{"machine": "a machine", "commit": "abc", "when": "now", "lines": lines} for lines in of_lines]


def row_of(found, criterion):
    return next(row for row in page.goal_rows(page.Data(found)) if criterion in row.criterion)


class DataPage(unittest.TestCase):
    def test_the_worst_size_of_batch_decides(self):
        row = row_of(rounds([line("D1", TAR, 64, 2e6), line("D1", TAR, 256, 0.9e6)]), "D1: shuffled")
        self.assertEqual(row.reached, "0.90 M samples/s (0.90 M samples/s–0.90 M samples/s), batch 256")
        self.assertEqual(row.verdict, "NO")

    def test_ratios_are_of_one_round(self):
        found = rounds(*([line("D2", TAR, 64, ours), line("D2", HDF5, 64, theirs)]
                         for ours, theirs in ((1e5, 0.95e5), (2e5, 1.9e5), (4e5, 4.4e5))))
        row = row_of(found, "D20")
        self.assertTrue(row.reached.startswith("95 % (95 %–110 %)"), row.reached)
        self.assertEqual(row.verdict, "yes")

    def test_the_fastest_other_is_taken_round_by_round(self):
        found = rounds([line("D1", TAR, 64, 10), line("D1", "webdataset, 0 workers", 64, 5), line("D1", "torch array", 64, 2)],
                       [line("D1", TAR, 64, 10), line("D1", "webdataset, 0 workers", 64, 1), line("D1", "torch array", 64, 2)])
        row = row_of(found, "D1: faster than the fastest other")
        self.assertEqual(row.reached, "3.50× (2.00×–5.00×), batch 64")
        self.assertEqual(row.verdict, "for information")

    def test_the_first_batch_is_judged_at_the_slowest_position(self):
        found = rounds([{"case": "D5", "contender": f"position {at}", "first_batch_seconds": seconds, "extra_bytes": 1 << 20}
                        for at, seconds in ((0, 0.01), (999, 0.2))])
        row = row_of(found, "D5: first batch")
        self.assertIn("position 999", row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_what_was_not_measured_is_not_met(self):
        row = row_of(rounds([line("D1", TAR, 64, 2e6)], []), "D3")
        self.assertEqual(row.verdict, "not measured")

    def test_the_page_and_its_numbers_are_written(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            for number, one in enumerate(rounds([line("D1", TAR, 64, 2e6)], [line("D1", TAR, 64, 3e6)])):
                (place / f"round-{number}.json").write_text(json.dumps(one))
            page.write(place, str(place / "2026-01-02-data"))
            rows = json.loads((place / "2026-01-02-data.json").read_text())["rows"]
            self.assertEqual(rows[0]["samples_per_second"], [2e6, 3e6])
            self.assertIn("2,500.0 (2,000.0–3,000.0)", (place / "2026-01-02-data.md").read_text())


if __name__ == "__main__":
    unittest.main()
