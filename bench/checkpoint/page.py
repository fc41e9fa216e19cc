# SPDX-License-Identifier: Apache-2.0
"""The goals of checkpoints that are about time and memory, whether the rounds reach them, and the page of results."""

import pathlib

from goals import Goal, judge, percent, ratios, table
from rounds import Rounds, best, spread

MIB, GIB = 1 << 20, 1 << 30
OURS = "lockstep"
ASYNC = "DCP async_save"
CACHED = ASYNC + ", cached staging"


class Saves(Rounds):
    KEY = ("case", "contender", "ranks", "bytes")

    def ours(self, case, metric):
        """{where: a value a round}, for every number of ranks and size."""
        return {where_of(*place): self.column(metric, case, OURS, *place) for place in self.places(case)}

    def places(self, case):
        """[(ranks, bytes)] in which any contender was measured."""
        return sorted({key[2:] for key in self.keys() if key[0] == case})

    def peers(self, *place):
        return sorted(key[1] for key in self.keys() if key[0] == "save" and key[1] != OURS and key[2:] == place)

    def limit(self, metric, place, contender):
        """Ours measures it by itself, right before each save; for the others the round has one."""
        if contender == OURS:
            return self.column(metric, "save", OURS, *place)
        return self.column(metric, "limits", "limit", 1, place[1])


def size_text(size):
    return f"{size / GIB:.3g} GiB" if size >= 64 * MIB else f"{size / MIB:.3g} MiB"


def where_of(ranks, size):
    return f"{ranks} rank{'s' if ranks > 1 else ''}, {size_text(size)}"


def present(candidates):
    return {where: [value for value in values if value is not None] for where, values in candidates.items()}


def own_ratio(data, case, above, below):
    """Of two numbers of the same process."""
    over = data.ours(case, below)
    return {where: ratios(values, over[where]) for where, values in data.ours(case, above).items()}


def over_peers(data, metric, names=None):
    """The best of the others (of these) divided by ours, in the same round."""
    found = {}
    for place in data.places("save"):
        theirs = best([data.column(metric, "save", name, *place) for name in names or data.peers(*place)], min)
        found[where_of(*place)] = ratios(theirs, data.column(metric, "save", OURS, *place))
    return found


def of_state(data):
    return {where_of(*place): [value / place[1] for value in data.column("extra_bytes", "steps", OURS, *place) if value]
            for place in data.places("steps")}


def of_deadline(data, metric):
    """C21: a final checkpoint within 1.3 times the limit and 2 s."""
    limits = data.ours("save", "limit_seconds")
    return {where: ratios(values, [1.3 * limit + 2 if limit else None for limit in limits[where]])
            for where, values in data.ours("save", metric).items()}


def at_most(need, unit="×", scale=1.0):
    return Goal(need, at_most=True, unit=unit, scale=scale)


def goal_rows(data):
    milliseconds = {"unit": " ms", "scale": 1e3}

    def measured(case, metric):
        return present(data.ours(case, metric))
    found = [
        judge("C1: durable save, of the O_DIRECT limit", percent(0.8), own_ratio(data, "save", "limit_seconds", "durable_seconds")),
        judge("C2: stall of a save, over memcpy of the state", at_most(1.2), own_ratio(data, "save", "stall_seconds", "memcpy_seconds")),
        judge("C2: shorter than the stall of DCP's async_save", Goal(5), over_peers(data, "stall_seconds", [ASYNC])),
        judge("C2: page faults in a save after the first", at_most(1000, ""), measured("save", "page_faults")),
        judge("C3: stall with overlap, of that without", percent(0.1, at_most=True),
              own_ratio(data, "overlap", "stall_seconds", "synchronous_stall_seconds")),
        judge("C3: the same files as without overlap", Goal(1, unit=""), measured("overlap", "same_bits")),
        judge("C4: a step while a save is written, over one without", at_most(1.05), measured("steps", "step_ratio")),
        judge("C4: most memory beyond the state, of the state's bytes", at_most(1.0), of_state(data)),
        judge("C11: open and read one tensor of 1 MiB", at_most(0.01, **milliseconds), measured("open", "open_seconds")),
        judge("C11: memory that it takes", at_most(20e6, " MB", 1e-6), measured("open", "resident_bytes")),
        judge("C11: load all, from the page cache into memory in use", Goal(5e9, unit=" GB/s", scale=1e-9), measured("load", "load_rate")),
        judge("C15: verify, of what plain reads in order take", percent(0.8), own_ratio(data, "verify", "read_seconds", "verify_seconds")),
        judge("C19: 100,000 tensors, first save", at_most(4, " s"), measured("many", "first_seconds")),
        judge("C19: 100,000 tensors, later saves", at_most(0.5, **milliseconds), measured("many", "later_seconds")),
        judge("C19: MANIFEST, a tensor", at_most(200, " B"), measured("many", "manifest_bytes")),
        judge("C21: first save, of limit × 1.3 + 2 s", percent(1, at_most=True), of_deadline(data, "first_durable_seconds")),
    ]
    information = [
        judge("C1: the first save of a program, of the limit", percent(0),
              own_ratio(data, "save", "limit_seconds", "first_durable_seconds")),
        judge("C1: without the copy, which the step waits for, of the limit", percent(0),
              own_ratio(data, "save", "limit_seconds", "background_seconds")),
        judge("C1: faster than the fastest of the others", Goal(0), over_peers(data, "durable_seconds")),
        judge("C2: shorter than the stall of DCP's async_save into memory that is kept", Goal(0),
              over_peers(data, "stall_seconds", [CACHED])),
        judge("C3: a step's work while the rest is copied, over without", at_most(0),
              own_ratio(data, "overlap", "compute_seconds", "quiet_compute_seconds")),
    ]
    return found + [row._replace(needed="–", verdict="for information") for row in information]


def save_tables(data):
    lines = []
    for place in data.places("save"):
        rows = []
        for contender in [OURS, *data.peers(*place)]:
            limit = data.limit("limit_seconds", place, contender)
            copy = data.limit("memcpy_seconds", place, contender)
            numbers = {metric: data.column(metric, "save", contender, *place) for metric in
                       ("durable_seconds", "first_durable_seconds", "unsynced_seconds", "stall_seconds")}
            rates = [place[1] / seconds if seconds else None for seconds in numbers["durable_seconds"]]
            rows.append([contender, spread(rates, 1e-9, 2), spread(ratios(limit, numbers["durable_seconds"]), 100, 0),
                         *(spread(numbers[metric], 1e3, 0) for metric in numbers if metric != "stall_seconds"),
                         spread(numbers["stall_seconds"], 1e3, 1), spread(ratios(numbers["stall_seconds"], copy), 1, 2)])
        lines += [f"## {where_of(*place)}", "",
                  *table(["", "GB/s, durable", "% of the limit", "ms, durable", "ms, the first", "ms, not yet synced",
                          "ms, stall", "stall / memcpy"], rows)]
    return lines


def limit_table(data):
    metrics = {"limit_1_thread_seconds": "O_DIRECT, 1 thread", "limit_2_threads_seconds": "O_DIRECT, 2 threads",
               "limit_buffered_seconds": "buffered", "memcpy_seconds": "memcpy, 1 thread"}
    rows = []
    for place in data.places("limits"):
        columns = [data.column(metric, "limits", "limit", *place) for metric in metrics]
        rows.append([size_text(place[1]),
                     *(spread([place[1] / value if value else None for value in column], 1e-9, 2) for column in columns)])
    return ["## What the machine can do at most", "", "GB/s; writes are durable: new file, fsync of file and folder.", "",
            *table(["", *metrics.values()], rows)]


def write(folder, output):
    """Writes OUTPUT.md and OUTPUT.json; returns the table of goals."""
    data = Saves.load(folder)
    goals = ["## Goals", "", "The worst case counts. Ratios are taken round by round: median (least–most).", "",
             *table(["goal", "needed", "reached", "met"], goal_rows(data))]
    name = pathlib.Path(output).name
    lines = [f"# Checkpoints, {name[:10]}", "", *data.about(name),
             "Command: `bench/checkpoint/run.py`, `bench/checkpoint/run.py report`.", "",
             *goals, *limit_table(data), *save_tables(data)]
    data.write(output, lines)
    return "\n".join(goals)
