# SPDX-License-Identifier: Apache-2.0
"""Draws OUTPUT.svg from OUTPUT.json. usage: plot.py OUTPUT (with matplotlib: .venv-data/bin/python)"""

import json
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

matplotlib.rcParams["svg.hashsalt"] = "lockstep"  # the same file for the same numbers
BATCHES = (64, 256)


def bars(axes, rows, case, metric, scale, unit):
    """Contenders from the slowest up, a bar for each size of batch."""
    medians = {}
    for row in rows:
        values = [value for value in row.get(metric, []) if value is not None]
        if row["case"] == case and row["batch"] in BATCHES and values:
            medians.setdefault(row["contender"], {})[row["batch"]] = statistics.median(values) * scale
    names = sorted(medians, key=lambda name: max(medians[name].values()))
    for place, batch in enumerate(BATCHES):
        axes.barh([index + (place - 0.5) * 0.4 for index in range(len(names))],
                  [medians[name].get(batch, 0) for name in names], height=0.4, label=f"batches of {batch}")
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_title(case)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8)


def main():
    with open(sys.argv[1] + ".json", encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    figure, axes = plt.subplots(1, 2, figsize=(16, 6))
    bars(axes[0], rows, "D1", "samples_per_second", 1e-6, "million samples/s, records of 2 KiB")
    bars(axes[1], rows, "D2", "bytes_per_second", 1e-9, "GB/s, records of 100 kB")
    figure.tight_layout()
    figure.savefig(sys.argv[1] + ".svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
