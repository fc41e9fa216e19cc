# SPDX-License-Identifier: Apache-2.0
"""Draws OUTPUT.svg from OUTPUT.json. usage: plot.py OUTPUT (with matplotlib: .venv-checkpoint/bin/python)"""

import json
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

matplotlib.rcParams["svg.hashsalt"] = "lockstep"  # the same file for the same numbers


def middle(row, metric):
    values = [value for value in row.get(metric, []) if value]
    return statistics.median(values) if values else None


def bars(axes, rows, value_of, title, unit):
    """Contenders, a bar for each number of ranks and size. value_of(row): None where there is none."""
    places = sorted({(row["ranks"], row["bytes"]) for row in rows})
    found = {}
    for row in rows:
        value = value_of(row)
        if value is not None:
            found.setdefault(row["contender"], {})[row["ranks"], row["bytes"]] = value
    names = sorted(found, key=lambda name: max(found[name].values()))
    height = 0.8 / max(len(places), 1)
    for number, place in enumerate(places):
        axes.barh([index + (number - (len(places) - 1) / 2) * height for index in range(len(names))],
                  [found[name].get(place, 0) for name in names], height=height,
                  label=f"{place[0]} ranks, {place[1] / 2**30:g} GiB")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(unit)
    axes.set_title(title)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8)


def main():
    with open(sys.argv[1] + ".json", encoding="utf-8") as file:
        rows = [row for row in json.load(file)["rows"] if row["case"] in ("save", "limits")]

    def rate(row):
        seconds = middle(row, "limit_seconds" if row["case"] == "limits" else "durable_seconds")
        return row["bytes"] / seconds / 1e9 if seconds else None

    def stall(row):
        seconds = middle(row, "memcpy_seconds" if row["case"] == "limits" else "stall_seconds")
        return seconds * 1e3 / (row["bytes"] / 2**30) if seconds else None
    figure, axes = plt.subplots(1, 2, figsize=(16, 5))
    bars(axes[0], rows, rate, "Durable saves", "GB/s")
    bars(axes[1], rows, stall, "What the step waits for (limit: memcpy)", "ms for each GiB")
    figure.tight_layout()
    figure.savefig(sys.argv[1] + ".svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
