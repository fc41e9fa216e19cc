# SPDX-License-Identifier: Apache-2.0
"""What the bench of checkpoints makes of its numbers: ratios of one round, the worst case, honest gaps."""

import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/shared"), str(ROOT / "bench/checkpoint")]
import page

GIB = 1 << 30


def line(case, contender, ranks=1, size=GIB, **numbers):
    return {"case": case, "contender": contender, "ranks": ranks, "bytes": size, **numbers}


def rounds(*of_lines):
    return [{"machine": "a machine", "commit": "abc", "when": "now", "lines": lines} for lines in of_lines]


def row_of(found, criterion):
    return next(row for row in page.goal_rows(page.Saves(found)) if row.criterion.startswith(criterion))


class CheckpointPage(unittest.TestCase):
    def test_the_worst_number_of_ranks_decides(self):
        row = row_of(rounds([line("save", "lockstep", 1, durable_seconds=1.0, limit_seconds=0.9),
                             line("save", "lockstep", 4, durable_seconds=1.0, limit_seconds=0.7)]), "C1: durable")
        self.assertEqual(row.reached, "70 % (70 %–70 %), 4 ranks, 1 GiB")
        self.assertEqual(row.verdict, "NO")

    def test_a_save_is_compared_with_the_limit_of_its_own_process(self):
        row = row_of(rounds([line("save", "lockstep", durable_seconds=1.0, limit_seconds=0.9),
                             line("limits", "limit", limit_seconds=0.1)]), "C1: durable")
        self.assertTrue(row.reached.startswith("90 %"), row.reached)

    def test_ratios_are_of_one_round(self):
        found = rounds(*([line("save", "lockstep", stall_seconds=ours, memcpy_seconds=copy)]
                         for ours, copy in ((1.0, 1.0), (2.2, 2.0), (9.0, 6.0))))
        row = row_of(found, "C2: stall")
        self.assertEqual(row.reached, "1.100× (1.000×–1.500×), 1 rank, 1 GiB")
        self.assertEqual(row.verdict, "yes")

    def test_the_fastest_other_is_taken_round_by_round(self):
        def one(torch, dcp):
            return [line("save", "lockstep", durable_seconds=1.0), line("save", "torch.save", durable_seconds=torch),
                    line("save", "DCP", durable_seconds=dcp)]
        row = row_of(rounds(one(2.0, 3.0), one(5.0, 4.0)), "C1: faster")
        self.assertEqual(row.reached, "3.00× (2.00×–4.00×), 1 rank, 1 GiB")
        self.assertEqual(row.verdict, "for information")

    def test_only_the_stall_of_async_save_counts_for_the_fifth(self):
        row = row_of(rounds([line("save", "lockstep", stall_seconds=0.1, durable_seconds=1.0),
                             line("save", "DCP", durable_seconds=3.0),
                             line("save", "DCP async_save", stall_seconds=0.4, durable_seconds=3.0),
                             line("save", "DCP async_save, cached staging", stall_seconds=0.2)]), "C2: shorter")
        self.assertTrue(row.reached.startswith("4.00×"), row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_other_bits_are_not_met(self):
        self.assertEqual(row_of(rounds([line("overlap", "lockstep", same_bits=0)]), "C3: the same").verdict, "NO")

    def test_no_page_fault_is_a_measurement(self):
        self.assertEqual(row_of(rounds([line("save", "lockstep", page_faults=0)]), "C2: page").verdict, "yes")

    def test_memory_is_of_the_bytes_of_the_state(self):
        row = row_of(rounds([line("steps", "lockstep", 2, extra_bytes=0.75 * GIB)]), "C4: most")
        self.assertTrue(row.reached.startswith("0.750×"), row.reached)

    def test_the_final_checkpoint_has_two_seconds_beyond_the_limit(self):
        row = row_of(rounds([line("save", "lockstep", first_durable_seconds=5.0, limit_seconds=2.0)]), "C21")
        self.assertTrue(row.reached.startswith("109 %"), row.reached)
        self.assertEqual(row.verdict, "NO")

    def test_what_was_not_measured_is_not_met(self):
        self.assertEqual(row_of(rounds([line("limits", "limit", limit_seconds=1.0)], []), "C19").verdict, "not measured")

    def test_the_page_tells_the_others_in_parts_of_the_limit_of_their_round(self):
        lines = [line("limits", "limit", limit_seconds=0.5, memcpy_seconds=0.1),
                 line("save", "torch.save", durable_seconds=1.0, first_durable_seconds=1.5, unsynced_seconds=0.75)]
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            (place / "round-01.json").write_text(json.dumps(rounds(lines)[0]))
            page.write(place, str(place / "2026-01-02-checkpoint"))
            rows = json.loads((place / "2026-01-02-checkpoint.json").read_text())["rows"]
            self.assertEqual(rows[1]["durable_seconds"], [1.0])
            self.assertIn("| torch.save | 1.07 (1.07–1.07) | 50 (50–50) | 1,000 (1,000–1,000) |",
                          (place / "2026-01-02-checkpoint.md").read_text())


if __name__ == "__main__":
    unittest.main()
