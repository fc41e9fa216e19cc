#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench of the data layer: what the machine can do at most, lockstep, and the others' loaders (peers.py) on the same
records. A round runs every contender once, forwards and backwards in turn; ratios are taken round by round.

usage: run.py [--rounds 5] [--only limits|ours|peers]    adds rounds to FOLDER
       run.py report                                     joins them into bench/results/DATE-data.*
What is measured, how long it takes and how to read the page: bench/README.md.
"""

import argparse
import functools
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))
import page
import rounds
from host import BIN, ROOT, run_once, wheel

HERE = ROOT / "bench/data"
CASES = ("D1", "D2")


def python():
    return str(wheel("data", "-r", str(HERE / "requirements.txt")) / "bin/python")


def peer_names():
    return subprocess.check_output([python(), HERE / "peers.py", "list"], text=True).splitlines()


def commands(part, data, seconds):
    """[command of one process]"""
    if part == "limits":
        return [[str(BIN / "bench_data_limits"), data, str(seconds / 4)]]
    if part == "ours":
        return [[str(BIN / "bench_data_loader"), data, case, str(seconds)] for case in (*CASES, "D3", "D5")] + [
            [str(BIN / "bench_data_images"), data, case, str(seconds)] for case in ("D4", "D21")]
    return [[python(), str(HERE / "peers.py"), "run", data, case, name, str(seconds)]
            for case in CASES for name in peer_names()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", choices=["report"])
    parser.add_argument("--only", choices=["limits", "ours", "peers"], help="measure no more than this")
    parser.add_argument("--rounds", type=int, default=5, help="how many more (default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="for each contender and size of batch (default 2)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/bench-data")
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{time.strftime('%Y-%m-%d')}-data"))
    options = parser.parse_args()
    if options.report:
        print(page.write(options.folder, options.output))
        subprocess.check_call([python(), HERE / "plot.py", options.output])
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    data = str(options.folder / "data")
    subprocess.check_call([python(), HERE / "peers.py", "make", data])
    subprocess.check_call([BIN / "bench_data_loader", data, "make"])
    if not (pathlib.Path(data) / "driving").exists():
        subprocess.check_call([BIN / "driving_generate", pathlib.Path(data) / "driving", "--logs=4", "--frames=60"])
    everyone = [command for part in ([options.only] if options.only else ["limits", "ours", "peers"])
                for command in commands(part, data, options.seconds)]
    runs = [(" ".join(command[-3:]), functools.partial(run_once, command, {})) for command in everyone]
    rounds.add(options.folder, options.rounds, runs)


if __name__ == "__main__":
    main()
