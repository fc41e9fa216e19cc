# SPDX-License-Identifier: Apache-2.0
"""Starts jobs as a user does, and finds what they leave behind. The standard library only."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LOCKSTEP_BIN", ROOT / "build/release/bin"))
NO_MPI = [str(BIN / "lockstep"), "run", "--no-mpi", "-n"]
# Without MPI where that is what is asked for; a lockstep that was built without it does so by itself.
LOCKSTEP = NO_MPI if "LOCKSTEP_TEST_NO_MPI" in os.environ else [str(BIN / "lockstep"), "run", "-n"]
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np"]  # continued by the number of ranks
SHARED_MEMORY = pathlib.Path("/dev/shm")


@dataclasses.dataclass
class Result:
    command: str
    code: int
    output: str  # standard output and standard error
    ended: float

    def expect(self, code, *texts):
        """Fails unless the job left with `code` and said each text exactly once."""
        assert self.code == code, f"left with {self.code} instead of {code}\n{self}"
        for text in texts:
            times = self.output.count(text)
            assert times == 1, f"said {times} times instead of once: {text}\n{self}"
        return self

    def errors(self):
        return re.findall(r"^error: .*", self.output, re.MULTILINE)

    def __str__(self):
        return f"{self.command}\n{self.output}(left with {self.code})"


class Job:
    """A command that runs; its output goes to a file, or to the descriptor `output`."""

    def __init__(self, command, workplace, output=None):
        self.command = command
        self.workplace = workplace
        self.output = tempfile.TemporaryFile(dir=workplace.folder)
        stream = self.output if output is None else output
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                                        env=workplace.environment, start_new_session=True)

    def text(self):
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode(errors="replace")

    def finish(self, timeout=60):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.workplace.end_processes()
            self.process.wait()
            raise AssertionError(f"hung for {timeout} s: {' '.join(self.command)}\n{self.text()}") from None
        ended = time.time()
        text = self.text()
        self.output.close()
        return Result(" ".join(self.command), code if code >= 0 else 128 - code, text, ended)  # as a shell reports it

    def signal(self, number):
        self.process.send_signal(number)

    def wait_until(self, condition, what, timeout=60):
        """Waits for condition(); fails if the job ends before that."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.workplace.end_processes()
                raise AssertionError(f"the job never got to {what}\n{self.finish()}")
            time.sleep(0.01)


class Workplace:
    """A folder for the jobs of a test. Everything that they start carries its mark in the environment."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-jobs-"))
        (self.folder / "tmp").mkdir()
        self.mark = f"LOCKSTEP_TEST_MARK={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.environment = os.environ | {
            name: value,
            "TMPDIR": str(self.folder / "tmp"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        self.shared_memory_before = set(os.listdir(SHARED_MEMORY))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end_processes()
        shutil.rmtree(self.folder)

    def __truediv__(self, name):
        return self.folder / name

    def start(self, *command, output=None):
        return Job([str(part) for part in command], self, output)

    def run(self, *command, timeout=60):
        return self.start(*command).finish(timeout)

    def processes(self):
        """The live processes that carry our mark."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                environment = pathlib.Path("/proc", entry, "environ").read_bytes()
                state = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue  # it has ended, or is another user's
            if self.mark.encode() in environment.split(b"\0") and state not in "ZX":
                found.append(int(entry))
        return found

    def end_processes(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def leftovers(self):
        """What is left of ended jobs: processes, files in shared memory that nobody maps, temporary folders."""
        deadline = time.monotonic() + 5  # the kernel may still be ending a process that was killed
        while (left := self._leftovers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _leftovers(self):
        left = [f"process {pid}" for pid in self.processes()]
        left += [str(path) for path in (self.folder / "tmp").glob("lockstep-run-*")]
        new = {name for name in os.listdir(SHARED_MEMORY) if name not in self.shared_memory_before}
        return left + [str(SHARED_MEMORY / name) for name in new if not is_mapped(SHARED_MEMORY / name)]


def is_mapped(path):
    """Whether a live process uses the file; other tests may run beside this one."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if str(path) in pathlib.Path("/proc", entry, "maps").read_text():
                    return True
            except OSError:
                continue
    return False


def run_json(folder):
    return json.loads((folder / "run.json").read_text())


def sha256(folder):
    """Of the parameters that the run in `folder` ended with."""
    return run_json(folder)["final"]["parameters_sha256"]


def metrics(folder):
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


def saved_steps(folder):
    """Of the complete checkpoints; a save in flight is not one."""
    return [int(name[5:]) for name in checkpoints(folder) if re.fullmatch(r"step-\d+", name)]


def listing(folder):
    """Path and digest of every file below `folder`, without those that each start or failure writes: logs, last calls and
    the lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name not in ["logs", "flight"] and path.name != "lock"
    }
