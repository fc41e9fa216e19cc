#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""faults.py [CELL …]: every fault ends the job soon, with its code, by name, and leaves nothing; the next start resumes.

A cell is LAUNCHER.KIND.POINT, for instance lockstep.kill.step; without one, all are run. fault_program.cpp tells what
the kinds and points are; the point "everywhere" is "step" on all ranks at once. nompi is `lockstep run --no-mpi`.
"""

import pathlib
import re
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import jobs  # noqa: E402

RANKS = 3  # so that there are two victims, of whom one speaks
TIMEOUT = 2  # comm.timeout_seconds, where it is what ends the job
PROMISE = 5  # seconds from the fault to the end of the job
SLACK = 5  # for a busy machine

KINDS = ["kill", "stop", "abort", "exit0", "throw", "throw_ours", "usr1"]
POINTS = ["init", "step", "collective", "save", "finalize"]
SIGNALS = {"kill": 9, "abort": 6, "usr1": 10}
CODES = {"kill": 137, "abort": 134, "stop": 70, "exit0": 1, "throw": 70, "throw_ours": 2, "usr1": 75}


def cells():
    for launcher in ["lockstep", "mpirun", "nompi"]:
        for kind in KINDS:
            for point in POINTS:
                # Without MPI there is no MPI_Finalize; who is not there in time, or leaves in peace, is a matter of
                # comm.timeout_seconds, see rendezvous_test.cpp.
                if launcher == "nompi" and (point == "finalize" or (point == "init" and kind not in SIGNALS)):
                    continue
                # lockstep::run catches nothing before it starts, nor may an exception pass through MPI_Finalize.
                if not (kind.startswith("throw") and point in ["init", "finalize"]):
                    yield f"{launcher}.{kind}.{point}"
            if kind.startswith("throw"):
                yield f"{launcher}.{kind}.everywhere"


def code_of(kind, point):
    if kind == "usr1" and point == "init":
        return 138  # nobody listens yet
    if kind == "usr1" and point == "finalize":
        return 0  # nobody asks any more
    return CODES[kind]


def what_is_said(launcher, kind, point, rank):
    """Patterns, each to be found exactly once. Who is killed outside lockstep::run is known to mpirun alone."""
    by_lockstep = launcher != "mpirun"
    if kind == "usr1" and point not in ["init", "finalize"]:
        return [r"stopped on request after step \d+"]
    if kind == "usr1" and point == "finalize":
        return [r"parameters sha256"]
    if point == "everywhere":
        return [rf"error: \[rank \d/{RANKS} \S+\] the fault of this test"]
    if kind.startswith("throw"):
        return [rf"error: \[rank {rank}/{RANKS} \S+\] the fault of this test"]
    if kind == "stop" and point in ["init", "finalize"]:  # outside of our communicator each rank speaks for itself
        return [rf"lockstep: first cause: rank \d .*MPI_{point.title()}\w*: not finished"] if by_lockstep else []
    if kind == "stop":
        return [rf"error: .*all_reduce #\d+ .* timed out after 2.0 s waiting for rank {rank} "]
    said = []
    if point not in ["init", "finalize"]:
        said.append(rf"error: \[rank \d/{RANKS} \S+\] all_reduce #\d+ .*: rank {rank} \(pid \d+ on \S+\) died")
    if kind == "exit0":
        mpirun = rf"due to process rank {rank} "
        ours = {"init": "the job ended with status 1", "finalize": "while all ranks were leaving .* ended without"}
        return said + [ours.get(point, f"lockstep: rank {rank} ended without saying why") if by_lockstep else mpirun]
    mpirun = rf"process rank {rank} .* on signal {SIGNALS[kind]}"
    ours = {"init": "lockstep: a rank", "finalize": "lockstep: while all ranks were leaving .* one of them"}
    if launcher == "nompi":
        ours = {}
    ours = ours.get(point, f"lockstep: rank {rank}") + f" was killed by signal {SIGNALS[kind]}"
    return said + [ours if by_lockstep else mpirun]


def command(launcher, folder, *arguments):
    start = {"lockstep": jobs.LOCKSTEP, "mpirun": jobs.MPIRUN, "nompi": jobs.NO_MPI}[launcher]
    return [*start, RANKS, jobs.BIN / "fault_program", f"run.dir={folder}", "train.max_steps=12",
            "checkpoint.every_steps=4", *arguments]


def check(cell, folder, place, undisturbed):
    launcher, kind, point = cell.split(".")
    at, rank = point, 1
    if point == "everywhere":
        at, rank = "step", -1
    mark = folder.with_suffix(".mark")
    faulty = place.run(*command(launcher, folder, f"fault.kind={kind}", f"fault.at={at}", f"fault.rank={rank}",
                                f"fault.mark={mark}", f"comm.timeout_seconds={TIMEOUT if kind == 'stop' else 60}"))
    assert mark.exists(), f"the fault did not happen\n{faulty}"
    seconds = faulty.ended - mark.stat().st_mtime
    allowed = PROMISE + SLACK + (TIMEOUT if kind == "stop" else 0)
    assert seconds < allowed, f"ended {seconds:.1f} s after the fault\n{faulty}"
    faulty.expect(code_of(kind, point))
    for pattern in what_is_said(launcher, kind, point, rank):
        found = re.findall(pattern, faulty.output)
        assert len(found) == 1, f"said {len(found)} times instead of once: {pattern}\n{faulty}"
    speakers = [line.partition("]")[0] for line in faulty.errors()]
    assert len(speakers) <= 1 or (kind == "stop" and "not finished after 2.0 s" in faulty.output), f"not once\n{faulty}"
    assert len(set(speakers)) == len(speakers) and bool(speakers) >= (kind == "stop"), f"not once\n{faulty}"
    left = place.leftovers()
    assert not left, f"left behind: {left}\n{faulty}"

    again = place.run(*command(launcher, folder)).expect(0)
    assert jobs.sha256(folder) == undisturbed, f"other bits than undisturbed\n{faulty}\n{again}"
    expected = [f"step-{step:08}" for step in (4, 8, 12)]
    names = jobs.checkpoints(folder)
    assert kind == "usr1" or names == expected, f"checkpoints: {names}\n{faulty}\n{again}"
    return seconds


def main():
    asked = sys.argv[1:] or list(cells())
    unknown = set(asked) - set(cells())
    if unknown:
        sys.exit(f"faults.py: no such cell: {', '.join(unknown)}; there are {', '.join(cells())}")
    failed = 0
    with jobs.Workplace() as place:
        place.run(*command("lockstep", place / "undisturbed")).expect(0)
        undisturbed = jobs.sha256(place / "undisturbed")
        for number, cell in enumerate(asked):  # a cell may be asked for several times
            try:
                seconds = check(cell, place / str(number), place, undisturbed)
                print(f"{cell}: ended {seconds:.1f} s after the fault", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{cell}: FAILED: {error}", flush=True)
    sys.exit(f"{failed} of {len(asked)} cells failed" if failed else 0)


if __name__ == "__main__":
    main()
