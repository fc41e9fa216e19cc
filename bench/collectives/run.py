#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench of the collectives on one host against Open MPI 4.1 (installed), Open MPI 5, MPICH 5, Intel MPI and oneCCL
(wheels) and Gloo. Contenders of a launch take turns, ratios are taken launch by launch.

usage: run.py --only main|odd|kinds|dtypes|crowd|cost [--launches 5]    adds launches of one part to FOLDER
       run.py report                                                    joins them into bench/results/DATE-collectives.*
What the parts are, how long they take and how to read the page: bench/README.md.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))
import page
from contenders import CROWDED_MPIS, MPIS, OURS, Task, contenders, launch, launch_gloo, names_of
from host import BIN, ROOT, cores, machine, run_once, wheel

KIB, MIB = 1 << 10, 1 << 20
EVERY_MPI = names_of(MPIS)

# part: (its contenders, what each of them measures)
PARTS = {
    "main": ([*OURS, *EVERY_MPI, "oneccl"], Task(["all_reduce"], 8, 64 * MIB, 0.2)),
    "odd": (["shm_own", "shm_ordinary", *EVERY_MPI, "oneccl"], Task(["all_reduce"], 8, 256 * MIB, 0.1, "odd")),
    "kinds": (["shm_own", "shm_ordinary", *EVERY_MPI],
              Task(["reduce_scatter", "all_gather", "broadcast", "all_to_all"], 64 * KIB, 64 * MIB, 0.15)),
    "dtypes": (["shm_own", "shm_ordinary"],
               Task(["all_reduce", "all_reduce_bf16", "all_reduce_f16", "all_reduce_avg", "all_reduce_any",
                     "all_reduce_out"], 64 * KIB, 64 * MIB, 0.2)),
    "crowd": (["communicator_own", "communicator_ordinary", *names_of(CROWDED_MPIS)],
              Task(["all_reduce"], KIB, KIB, 2, burst=20)),
    "cost": ([], None),
}
CROWD_RANKS = 8


def bound_to_cores(program, *arguments):
    return ["mpirun", "-np", "2", "--bind-to", "core", str(BIN / program), *map(str, arguments)]


def limits():
    return run_once([str(BIN / "bench_limits"), *map(str, cores())], {})[0]


def idle_share(seconds):
    return run_once(bound_to_cores("bench_idle_rank", seconds), {})[0]


def cost(seconds):
    """Seconds a call by layer, and of the fingerprint."""
    with tempfile.NamedTemporaryFile() as barrier:
        layers = run_once(bound_to_cores("bench_layers", barrier.name, seconds), {})
    found = {line["case"]: line["median"] for line in layers}
    output = subprocess.check_output([str(BIN / "bench_fingerprint"), "--benchmark_format=json"], text=True,
                                     stderr=subprocess.DEVNULL)
    found.update({line["name"]: line["cpu_time"] * 1e-9 for line in json.loads(output)["benchmarks"]})
    return found


def one_launch(part, options, number):
    names, task = PARTS[part]
    result = {"machine": machine(), "when": time.strftime("%Y-%m-%d %H:%M")}
    if part == "cost":
        return {**result, "cost": cost(0.05 if options.tiny else 2)}
    if part == "crowd":
        result["idle"] = idle_share(1 if options.tiny else 10)
    else:
        result["limits"] = limits()
    if options.tiny:
        task = Task(task.cases, task.smallest, min(task.largest, task.smallest * 16), 0.01, task.shape, task.burst)
    everyone = contenders(names, CROWD_RANKS if part == "crowd" else 2)
    order = list(everyone) if number % 2 == 0 else list(reversed(everyone))
    lines = []
    for name in order:
        found = launch(name, everyone[name], task)
        print(f"{part}, launch {number}: {name}: {len(found)} results", flush=True)
        lines += found
    if part == "main":
        lines += launch_gloo(task)
    return {**result, "lines": lines}


def measure(part, options):
    options.folder.mkdir(parents=True, exist_ok=True)
    for _ in range(options.launches):
        number = len(list(options.folder.glob(f"{part}-*.json"))) + 1
        began = time.monotonic()
        result = one_launch(part, options, number)
        result["seconds"] = round(time.monotonic() - began)
        (options.folder / f"{part}-{number:02}.json").write_text(json.dumps(result) + "\n")
        print(f"{part}, launch {number}: {result['seconds']} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", choices=["report"])
    parser.add_argument("--only", choices=PARTS, help="measure this part")
    parser.add_argument("--launches", type=int, default=5, help="how many more launches of it (default 5)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/bench-collectives")
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{time.strftime('%Y-%m-%d')}-collectives"))
    parser.add_argument("--tiny", action="store_true", help="few sizes, little time: shows that it works, measures nothing")
    options = parser.parse_args()
    if not options.report and not options.only:
        parser.error("what? --only PART measures, report writes the page")
    if options.only:
        measure(options.only, options)
    if options.report:
        print(page.write(options.folder, options.output))
        python = wheel("peers", "-r", str(ROOT / "bench/peers/requirements.txt")) / "bin/python"
        subprocess.check_call([python, ROOT / "bench/collectives/plot.py", options.output])


if __name__ == "__main__":
    main()
