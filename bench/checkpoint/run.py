#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench of checkpoints: what the disk and the memory can do at most, lockstep, and the others (peers.py) with the same
bytes. A round runs every contender once, forwards and backwards in turn; ratios are taken round by round.

usage: run.py [--rounds 5] [--only limits|ours|peers] [--gib 1 4]    adds rounds to FOLDER
       run.py report                                                 joins them into bench/results/DATE-checkpoint.*
What is measured, how long it takes and how to read the page: bench/README.md.
"""

import argparse
import functools
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))
import page
import rounds
from host import BIN, ROOT, run_once, run_ranks, wheel

HERE = ROOT / "bench/checkpoint"
OURS = (("save", 1), ("save", 4), ("overlap", 1), ("overlap", 4), ("steps", 2))  # case, ranks
REPEATS = 3
TIMEOUT = 600  # seconds
ASYNC_AT_MOST = 1 << 30  # bytes that each of several ranks copies whole


def python():
    return str(wheel("checkpoint", "-r", str(HERE / "requirements.txt")) / "bin/python")


def peers(ranks, size):
    names = subprocess.check_output([python(), HERE / "peers.py", "list", str(ranks)], text=True).splitlines()
    return [name for name in names if ranks == 1 or "async" not in name or size <= ASYNC_AT_MOST]


def of_ranks(command, ranks):
    """(what, function that returns its lines)"""
    what = " ".join(word for word in command if "/" not in word)
    return f"{what}, {ranks} ranks", functools.partial(run_ranks, command, ranks, TIMEOUT)


def read(folder, size):
    """The lines of opening, loading and verifying one checkpoint."""
    ours = str(BIN / "bench_checkpoint_read")
    steps = (["make", folder, str(size >> 20)], ["open", folder], ["load", folder, "2"], ["verify", folder, "2"])
    lines = [line for step in steps for line in run_once([ours, *step], {}, TIMEOUT)]
    shutil.rmtree(folder, ignore_errors=True)
    return lines


def runs(part, folder, sizes):
    ours = str(BIN / "bench_save")
    if part == "limits":
        return [of_ranks([ours, "limits", folder, str(size), str(REPEATS)], 1) for size in sizes]
    if part == "ours":
        return [*(of_ranks([ours, case, folder, str(size), str(REPEATS)], ranks) for size in sizes for case, ranks in OURS),
                *(of_ranks([ours, "many", folder, "0", str(REPEATS)], ranks) for ranks in (1, 4)),
                *((f"read {size}", functools.partial(read, folder, size)) for size in sizes)]
    return [of_ranks([python(), str(HERE / "peers.py"), "run", folder, name, str(size), str(REPEATS)], ranks)
            for size in sizes for ranks in (1, 4) for name in peers(ranks, size)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", choices=["report"])
    parser.add_argument("--only", choices=["limits", "ours", "peers"], help="measure no more than this")
    parser.add_argument("--rounds", type=int, default=5, help="how many more (default 5)")
    parser.add_argument("--gib", type=float, nargs="+", default=[1, 4], help="sizes of the state (default 1 4)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/bench-checkpoint",
                        help="on the disk to be measured; takes 3 times the largest state for a while")
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{time.strftime('%Y-%m-%d')}-checkpoint"))
    options = parser.parse_args()
    if options.report:
        print(page.write(options.folder, options.output))
        subprocess.check_call([python(), HERE / "plot.py", options.output])
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    data = options.folder / "data"
    sizes = [int(gib * (1 << 30)) for gib in options.gib]
    everyone = [run for part in ([options.only] if options.only else ["limits", "ours", "peers"])
                for run in runs(part, str(data), sizes)]
    try:
        rounds.add(options.folder, options.rounds, everyone)
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
