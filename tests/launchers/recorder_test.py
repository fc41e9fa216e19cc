#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""recorder_test.py BACKEND: in ten ways, and one more, one of three ranks falls out of step; each time `lockstep recorder
merge` names it and the call. desync_program.cpp tells what the ways are."""

import json
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import jobs  # noqa: E402

BACKEND = "shm"
RANKS, CULPRIT, STEP = 3, 2, 10
TIMEOUT = 3  # seconds; MPI_Init on a busy machine has to keep it, too
FIRST, SECOND = f"all_reduce #{3 * STEP}", f"broadcast #{3 * STEP + 1}"  # the calls of that step


class Merge(unittest.TestCase):
    def setUp(self):
        self.place = jobs.Workplace()
        self.addCleanup(self.place.__exit__)

    def fall_out(self, kind):
        """What merge says of a job in which the culprit falls out of step, and what the job itself said."""
        folder = self.place / kind
        job = self.place.run(*jobs.LOCKSTEP, RANKS, jobs.BIN / "desync_program", f"run.dir={folder}",
                             f"comm.backend={BACKEND}", f"comm.timeout_seconds={TIMEOUT}", f"desync.kind={kind}")
        self.assertNotEqual(job.code, 0, str(job))
        self.assertEqual(len(job.errors()), 1, str(job))
        self.assertTrue(job.errors()[0].endswith(f"lockstep recorder merge {folder}/flight"), str(job))
        merge = [jobs.BIN / "lockstep", "recorder", "merge", folder / "flight"]
        text = subprocess.run(merge, capture_output=True, text=True)
        self.assertEqual((text.returncode, text.stderr), (1, ""), str(job))
        report = json.loads(subprocess.run([*merge, "--json"], capture_output=True, text=True).stdout)
        self.assertEqual(text.stdout.splitlines()[0], report["verdict"]["text"])
        print(f"{BACKEND}.{kind}: {report['verdict']['text']}", flush=True)
        return report["verdict"], text.stdout

    def check(self, kind, verdict_kind, call, *texts):
        verdict, text = self.fall_out(kind)
        self.assertEqual((verdict["kind"], verdict["ranks"], verdict["communicator"]),
                         (verdict_kind, [CULPRIT], "work"), text)
        self.assertTrue(verdict["call"].startswith(call + " "), text)
        for part in texts:
            self.assertIn(part, verdict["text"], text)

    def test_missing_call(self):
        self.check("missing", "mismatch", FIRST, f"rank 2 called broadcast #{3 * STEP} (8 × int64, root 0) where")

    def test_extra_call(self):
        self.check("extra", "mismatch", FIRST, f"rank 2 called barrier #{3 * STEP} where ranks 0, 1 called all_reduce")

    def test_other_kind(self):
        self.check("kind", "mismatch", FIRST, "rank 2 called reduce #")

    def test_other_count(self):
        self.check("count", "mismatch", FIRST, "(999 × float32", "(different: elements)")

    def test_other_dtype(self):
        self.check("dtype", "mismatch", FIRST, "(1000 × int32", "(different: dtype)")

    def test_other_root(self):
        self.check("root", "mismatch", SECOND, "(8 × int64, root 1)", "(different: root)")

    def test_other_order(self):
        self.check("order", "mismatch", FIRST, "rank 2 called broadcast #")

    def test_dead_rank(self):
        self.check("dead", "no_dump", FIRST, "rank 2 left no file")

    def test_stopped_rank(self):
        verdict, text = self.fall_out("stopped")
        self.assertEqual(verdict["ranks"], [CULPRIT], text)
        self.assertTrue(verdict["call"].startswith(FIRST + " "), text)
        # mpirun continues a stopped rank before it ends it: then that may leave a file yet.
        self.assertIn(verdict["kind"], ["no_dump", "never_called", "too_late"], text)

    def test_stuck_on_another_communicator(self):
        self.check("elsewhere", "never_called", FIRST, 'its last call was barrier #0 on "other" (not done)')

    def test_a_rank_that_never_waits_writes_its_file_on_a_signal(self):
        self.place.environment["LOCKSTEP_FLIGHT_SIGNAL"] = "1"
        self.check("busy", "never_called", FIRST, f'its last call was barrier #{3 * STEP - 1} on "work" (done)')

    def test_a_job_that_runs_writes_its_files_on_sigusr2(self):
        self.place.environment["LOCKSTEP_FLIGHT_SIGNAL"] = "1"
        folder = self.place / "runs"
        job = self.place.start(*jobs.LOCKSTEP, RANKS, jobs.BIN / "desync_program", f"run.dir={folder}",
                               f"comm.backend={BACKEND}", "desync.kind=busy")
        job.wait_until(lambda: "run folder" in job.text(), "its start")
        job.signal(signal.SIGUSR2)
        files = [folder / f"flight/flight-rank-{rank}.json" for rank in range(RANKS)]
        job.wait_until(lambda: all(file.exists() for file in files), "its files")
        for rank, file in enumerate(files):
            dump = json.loads(file.read_text())
            self.assertEqual((dump["schema_version"], dump["rank"], dump["reason"]), (1, rank, "request"))
            self.assertEqual(dump["communicators"][0]["id"], "world")
            for call in dump["calls"]:
                self.assertLessEqual(call["started"], dump["time"])
                self.assertTrue(call["text"].startswith(f'{call["fingerprint"]["kind"]} #{call["sequence"]}'))
        self.place.end_processes()
        job.finish()


if __name__ == "__main__":
    BACKEND = sys.argv.pop(1)
    unittest.main()
