# SPDX-License-Identifier: Apache-2.0
"""What every bench needs of this host: where things are, how programs are run, what machine it is."""

import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"


def environment(**more):
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **more}


def wheel(name, *packages):
    """A virtual environment with `packages`, made where it is missing."""
    folder = ROOT / f".venv-{name}"
    if not (folder / "bin/python").exists():
        subprocess.check_call([sys.executable, "-m", "venv", folder])
        subprocess.check_call([folder / "bin/pip", "install", "-q", *packages])
    return folder


def lines_of(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def run_once(command, env, timeout=200):
    """The JSON lines of one program; a complaint and none if it fails: one contender must not end the bench."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(**env))
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command)} did not end within {timeout} s", file=sys.stderr)
        return []
    if run.returncode != 0:
        print(f"{' '.join(command)} left with {run.returncode}:\n{run.stdout[-500:]}{run.stderr[-1500:]}", file=sys.stderr)
        return []
    return lines_of(run.stdout)


def run_ranks(command, ranks, timeout=200):
    """The same for processes of one job that meet without MPI; rank 0 prints the lines."""
    if ranks == 1:
        return run_once(command, {}, timeout)
    name = f"bench-{os.getpid()}-{time.monotonic_ns()}"
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(
        RANK=str(rank), WORLD_SIZE=str(ranks), LOCKSTEP_RENDEZVOUS=name, GLOO_SOCKET_IFNAME="lo")) for rank in range(ranks)]
    until = time.monotonic() + timeout
    try:
        outputs = [process.communicate(timeout=max(until - time.monotonic(), 1))[0] for process in processes]
    except subprocess.TimeoutExpired:
        outputs = [f"did not end within {timeout} s"] * ranks
    for process in processes:
        process.kill()
        process.wait()
    failed = [rank for rank, process in enumerate(processes) if process.returncode != 0]
    for rank in failed:
        print(f"{' '.join(command)}: rank {rank} left with {processes[rank].returncode}:\n{outputs[rank][-1500:]}",
              file=sys.stderr)
    return [] if failed else lines_of(outputs[0])


def cores():
    return sorted(os.sched_getaffinity(0))[:2]


def machine():
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return f"{cpu}, {os.cpu_count()} cores, Linux {os.uname().release}"


def commit():
    """What is measured: the commit, and whether files differ from it."""
    return subprocess.check_output(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, text=True).strip()
