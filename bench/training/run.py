#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training speed of examples/fashion_mnist, paired in one run: 2 ranks, two independent 1-rank processes at the same time
on the same cores, and Python DDP + Gloo on the same net, data and cores. Every process is pinned to one core and uses one
intra-op thread; a rank's share is 64 samples a step. Rounds alternate, and ratios are taken round by round.

usage: bench/training/run.py [--rounds 5] [--steps 300] [--output bench/results/NAME]
Needs: the release build (examples/fashion_mnist/run), and .venv-peers (made here from bench/peers/requirements.txt).
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
PEERS = ROOT / ".venv-peers/bin/python"
WARMUP = 50


def environment(**more):
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **more}


def program(run_dir, steps, global_batch):
    return [str(BIN / "fashion_mnist"), f"run.dir={run_dir}", f"train.max_steps={steps}",
            f"train.global_batch={global_batch}", "checkpoint.every_steps=0", f"data.path={ROOT}/data/fashion_mnist"]


def finish(process):
    out, _ = process.communicate(timeout=600)
    if process.returncode != 0:
        sys.exit(f"{process.args} left with {process.returncode}:\n{out}")
    return out


def start(command, **more):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(**more))


def rate(run_dir):
    """Mean samples a second of the logged intervals after the warm-up: harmonic, because the intervals are equally long."""
    lines = [json.loads(line) for line in (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
    rates = [line["samples_per_second"] for line in lines if line["step"] > WARMUP]
    return statistics.harmonic_mean(rates)


def two_ranks(folder, steps, cores):
    run_dir = folder / "two"
    finish(start(["mpirun", "-np", "2", "--cpu-set", ",".join(map(str, cores)), "--bind-to", "core",
                  *program(run_dir, steps, 128)]))
    return rate(run_dir)


def two_singles(folder, steps, cores):
    runs = [folder / f"single{core}" for core in cores]
    started = [start(["taskset", "-c", str(core), *program(run, steps, 64)]) for core, run in zip(cores, runs)]
    for process in started:
        finish(process)
    return sum(rate(run) for run in runs)


def ddp_gloo(folder, steps, cores):
    started = [start(["taskset", "-c", str(core), str(PEERS), str(ROOT / "bench/peers/ddp_gloo.py"), "--steps", str(steps),
                      "--warmup", str(WARMUP)], RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                     MASTER_PORT="29611", GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1") for rank, core in enumerate(cores)]
    output = [finish(process) for process in started][0]
    return json.loads(output.strip().splitlines()[-1])["samples_per_second"]


def spread(values):
    return f"{statistics.median(values):,.2f} ({min(values):,.2f} – {max(values):,.2f})"


def machine():
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return f"{cpu}, {os.cpu_count()} cores, Linux {os.uname().release}, LibTorch 2.11.0, Open MPI 4.1.4"


def report(rounds, options):
    ranks, singles, ddp = ([r[key] for r in rounds] for key in ("two_ranks", "two_singles", "ddp_gloo"))
    scaling = [a / b for a, b in zip(ranks, singles)]
    against_ddp = [a / b for a, b in zip(ranks, ddp)]
    return "\n".join([
        f"# Training speed, {time.strftime('%Y-%m-%d')}", "",
        f"Machine: {machine()}. Command: `bench/training/run.py --rounds {options.rounds} --steps {options.steps}`.",
        f"Net, data and loop of `examples/fashion_mnist`, 64 samples a rank and step, 1 intra-op thread, one core a process;",
        f"steps {WARMUP} to {options.steps}; median (least – most) of {options.rounds} rounds, ratios taken round by round.", "",
        "| | samples/s |", "|---|---|",
        f"| lockstep, 2 ranks | {spread(ranks)} |",
        f"| lockstep, two independent 1-rank processes at the same time, together | {spread(singles)} |",
        f"| Python DistributedDataParallel + Gloo, 2 ranks | {spread(ddp)} |", "",
        "| ratio | median (least – most) | goal |", "|---|---|---|",
        f"| 2 ranks / two independent processes | {spread(scaling)} | ≥ 0.95 |",
        f"| 2 ranks / DDP + Gloo | {spread(against_ddp)} | ≥ 1.2 |", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{time.strftime('%Y-%m-%d')}-training"))
    options = parser.parse_args()
    if not PEERS.exists():
        subprocess.check_call([sys.executable, "-m", "venv", ROOT / ".venv-peers"])
        subprocess.check_call([PEERS, "-m", "pip", "install", "-q", "-r", ROOT / "bench/peers/requirements.txt"])
    cores = sorted(os.sched_getaffinity(0))[:2]
    rounds = []
    for index in range(options.rounds):
        folder = pathlib.Path(tempfile.mkdtemp())
        order = [two_ranks, two_singles, ddp_gloo] if index % 2 == 0 else [ddp_gloo, two_singles, two_ranks]
        rounds.append({measure.__name__: measure(folder, options.steps, cores) for measure in order})
        shutil.rmtree(folder)
        print({name: round(value) for name, value in rounds[-1].items()}, flush=True)
    text = report(rounds, options)
    print(text)
    pathlib.Path(options.output + ".md").write_text(text, encoding="utf-8")
    pathlib.Path(options.output + ".json").write_text(json.dumps({"machine": machine(), "rounds": rounds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
