# SPDX-License-Identifier: Apache-2.0
"""Draws OUTPUT.svg from OUTPUT.json. usage: plot.py OUTPUT (with matplotlib: .venv-peers/bin/python)"""

import json
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

matplotlib.rcParams["svg.hashsalt"] = "lockstep"  # the same file for the same numbers
LIBRARIES = {"Open MPI 4.1": "openmpi4", "Open MPI 5": "openmpi5", "MPICH 5": "mpich5", "Intel MPI": "intel",
             "oneCCL": "oneccl", "Gloo": "gloo"}
OURS = {"lockstep, own buffers": "shm_own", "lockstep, ordinary memory": "shm_ordinary"}


def curves(rows, part, case):
    """{label: {bytes: seconds}}; of a library the best of its settings."""
    found = {}
    for label, prefix in {**OURS, **LIBRARIES}.items():
        for row in rows:
            mine = row["contender"] == prefix or (label in LIBRARIES and row["contender"].startswith(prefix + "_"))
            if row["part"] == part and row["case"] == case and mine:
                seconds = statistics.median(value for value in row["seconds"] if value)
                curve = found.setdefault(label, {})
                curve[row["bytes"]] = min(seconds, curve.get(row["bytes"], seconds))
    return found


def draw(axes, found, title, bandwidth):
    for label, curve in found.items():
        sizes = sorted(curve)
        values = [size / curve[size] / 1e9 if bandwidth else curve[size] * 1e6 for size in sizes]
        axes.plot(sizes, values, "-" if label in OURS else "--", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel("bytes")
    axes.set_ylabel("GB/s (bytes / time)" if bandwidth else "microseconds")
    axes.grid(alpha=0.3)


def main():
    with open(sys.argv[1] + ".json", encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    figure, axes = plt.subplots(2, 3, figsize=(16, 9))
    draw(axes[0][0], curves(rows, "main", "all_reduce"), "all_reduce: time", False)
    draw(axes[0][1], curves(rows, "main", "all_reduce"), "all_reduce: bandwidth", True)
    for place, case in zip(axes.flat[2:], ("all_gather", "reduce_scatter", "broadcast", "all_to_all")):
        draw(place, curves(rows, "kinds", case), f"{case}: bandwidth", True)
    axes[0][0].legend(fontsize=8)
    figure.suptitle("2 ranks on one host, float32; best setting of each library")
    figure.tight_layout()
    figure.savefig(sys.argv[1] + ".svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
