#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `run` makes of the output of tests and benches, and when it refuses a host."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import host  # noqa: E402
import report  # noqa: E402

SKIPPED = """[==========] Running 2 tests from 1 test suite.
[ RUN      ] NcclRanks.split
/build/gpu_ranks.hpp:27: Skipped
opening a GPU: no NVIDIA driver

[  SKIPPED ] NcclRanks.split (3 ms)
[ RUN      ] Hosts/StagedRanks.split/shm
[       OK ] Hosts/StagedRanks.split/shm (1 ms)
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] NcclRanks.split
"""
NEEDS = {"torch": "2.11.0+cu130", "cuda": "13.0", "glibc": "2.34"}
TORCH = {"version": "2.11.0", "cuda": "13.0", "folder": "/python/torch"}


def step(kind, output, code=0, timed_out=False):
    return report.step_report({"name": "a", "kind": kind, "command": "a"}, code, timed_out, 1.25, output)


class Gtest(unittest.TestCase):
    def test_skips_keep_their_reason(self):
        self.assertEqual(report.parse_gtest(SKIPPED), {
            "passed": ["Hosts/StagedRanks.split/shm"], "failed": [],
            "skipped": {"NcclRanks.split": "opening a GPU: no NVIDIA driver"}})

    def test_a_skip_does_not_take_the_reason_of_the_one_before(self):
        output = SKIPPED.replace("[  SKIPPED ] 1 test", "[ RUN      ] A.b\n[  SKIPPED ] A.b (0 ms)\n[  SKIPPED ] 1 test")
        self.assertEqual(report.parse_gtest(output)["skipped"]["A.b"], "no reason given")

    def test_failures_with_parameters_are_found(self):
        line = "[  FAILED  ] Hosts/StagedRanks.split/shm, where GetParam() = \"shm\" (12 ms)"
        self.assertEqual(report.parse_gtest(line)["failed"], ["Hosts/StagedRanks.split/shm"])


class Verdict(unittest.TestCase):
    def test_a_program_of_skips_alone_is_skipped(self):
        entry = step("test", SKIPPED.replace("[       OK ]", "[ no ]"))
        self.assertEqual((entry["result"], entry["skipped_because"]), ("skipped", ["opening a GPU: no NVIDIA driver"]))

    def test_some_skips_beside_passes_are_a_pass_that_names_them(self):
        entry = step("test", SKIPPED)
        self.assertEqual((entry["result"], len(entry["skipped_because"])), ("passed", 1))

    def test_silence_is_a_failure(self):
        self.assertEqual(step("test", "")["result"], "failed")
        self.assertEqual(step("bench", "hello\n")["result"], "failed")

    def test_an_exit_code_is_a_failure_that_keeps_the_output(self):
        entry = step("test", "[       OK ] A.b (1 ms)\nSegmentation fault\n", code=139)
        self.assertEqual(entry["result"], "failed")
        self.assertIn("Segmentation fault", entry["output"])

    def test_time_runs_out(self):
        self.assertEqual(step("bench", '{"bench": "a"}\n', timed_out=True)["result"], "timed out")

    def test_bench_lines_are_kept_and_torn_ones_left(self):
        entry = step("bench", 'text\n{"bench": "a", "us": 1.5}\n{"bench": \n')
        self.assertEqual((entry["result"], entry["lines"]), ("passed", [{"bench": "a", "us": 1.5}]))

    def test_a_bench_without_gpu_is_skipped(self):
        entry = step("bench", '{"bench": "a", "skipped": "no driver"}\n')
        self.assertEqual((entry["result"], entry["skipped_because"]), ("skipped", ["no driver"]))

    def test_only_failures_and_lost_time_are_bad(self):
        self.assertTrue(report.is_good([{"result": "passed"}, {"result": "skipped"}, {"result": "not there"}]))
        self.assertFalse(report.is_good([{"result": "timed out"}]))
        self.assertEqual(report.summary([{"result": "passed"}, {"result": "failed"}, {"result": "passed"}]),
                         "2 passed, 1 failed")


class Refusal(unittest.TestCase):
    def test_the_same_torch_with_another_suffix_is_taken(self):
        self.assertEqual(host.why_refused(TORCH, "2.36", NEEDS), "")

    def test_another_torch_is_refused_with_both_numbers(self):
        why = host.why_refused({**TORCH, "version": "2.10.0+cu130"}, "2.36", NEEDS)
        self.assertRegex(why, r"2\.10\.0\+cu130.*2\.11\.0")

    def test_another_cuda_is_refused(self):
        self.assertRegex(host.why_refused({**TORCH, "cuda": "12.8"}, "2.36", NEEDS), r"12\.8.*13\.0")

    def test_an_older_glibc_is_refused_with_both_numbers(self):
        self.assertRegex(host.why_refused(TORCH, "2.9", NEEDS), r"2\.9.*2\.34")

    def test_no_torch_is_refused(self):
        self.assertIn("no torch", host.why_refused(None, "2.36", NEEDS))

    def test_versions_are_compared_as_numbers(self):
        self.assertEqual(host.newest({"3.4.9", "3.4.30"}), "3.4.30")


if __name__ == "__main__":
    unittest.main()
