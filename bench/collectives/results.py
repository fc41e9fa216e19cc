# SPDX-License-Identifier: Apache-2.0
"""What the launches of all parts found, and numbers made of it. Lists have one entry a launch, None where it is missing."""

import json
import re

from goals import middle, ratios

RANKS = 2
# Bytes that a rank must read and write at least, in multiples of the array, if all ranks share the work: each element
# of the inputs is read once and each of the outputs written once.
TRAFFIC = {"all_reduce": 2, "reduce_scatter": 1 + 1 / RANKS, "all_gather": 2, "broadcast": 2 * (RANKS - 1) / RANKS,
           "all_to_all": 2}
# Bus bandwidth / algorithm bandwidth, as in nccl-tests.
BUS = {"all_reduce": 2 * (RANKS - 1) / RANKS, "reduce_scatter": (RANKS - 1) / RANKS, "all_gather": (RANKS - 1) / RANKS,
       "broadcast": 1, "all_to_all": (RANKS - 1) / RANKS}


def collective_of(case):
    return next(name for name in TRAFFIC if case.startswith(name))


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} B"


class Results:
    def __init__(self, launches):
        """launches: {part: [what run.py stored, …]}"""
        self.launches = launches
        self._lines = {part: [{(line["contender"], line.get("case", "all_reduce"), line["bytes"]): line
                               for line in one.get("lines", [])} for one in of] for part, of in launches.items()}

    @classmethod
    def load(cls, folder):
        launches = {}
        for path in sorted(folder.glob("*.json")):
            name = re.fullmatch(r"([a-z]+)-\d+", path.stem)
            if name:
                launches.setdefault(name[1], []).append(json.loads(path.read_text()))
        return cls(launches)

    def of(self, part):
        return self.launches.get(part, [])

    def sizes(self, part, case="all_reduce"):
        return sorted({key[2] for one in self._lines.get(part, []) for key in one if key[1] == case})

    def contenders(self, part):
        return {key[0]: None for one in self._lines.get(part, []) for key in one}.keys()

    def seconds(self, part, contender, size, case="all_reduce", what="median"):
        return [one.get((contender, case, size), {}).get(what) for one in self._lines.get(part, [])]

    def best(self, part, contenders, size, case="all_reduce"):
        """The fastest of `contenders` in each launch."""
        columns = [self.seconds(part, name, size, case) for name in contenders]
        return [min((value for value in row if value), default=None) for row in zip(*columns)]

    def best_name(self, part, contenders, size, case="all_reduce"):
        known = {name: middle(self.seconds(part, name, size, case)) for name in contenders}
        return min((name for name in known if known[name]), key=known.get, default="–")

    def limit(self, part, size, case="all_reduce"):
        """The seconds that reading and writing alone would take."""
        found = []
        for one in self.of(part):
            core, node = (one["limits"][f"{of}_bytes_per_second"] for of in ("core", "node"))
            found.append(size * TRAFFIC[collective_of(case)] / min(core, node / RANKS))
        return found

    def rows(self):
        """Every contender, case and size: seconds by launch, and what follows from their median."""
        for part in self._lines:
            for contender, case, size in sorted({key for one in self._lines[part] for key in one}):
                seconds = self.seconds(part, contender, size, case)
                bandwidth = size / middle(seconds)
                row = {"part": part, "contender": contender, "case": case, "bytes": size, "seconds": seconds,
                       "p99": self.seconds(part, contender, size, case, "p99"), "algbw": float(f"{bandwidth:.4g}"),
                       "busbw": float(f"{bandwidth * BUS[collective_of(case)]:.4g}")}
                if part != "crowd":
                    of_limit = middle(ratios(self.limit(part, size, case), seconds))
                    row["of_limit"] = float(f"{of_limit:.4g}")
                yield row
