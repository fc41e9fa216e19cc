# SPDX-License-Identifier: Apache-2.0
"""Rounds of a bench: in each, every contender runs once, forwards and backwards in turn. Their lines of JSON, by what they
are about, and what all pages make of them.
"""

import json
import pathlib
import time

from goals import middle
from host import commit, machine


def add(folder, count, runs):
    """Measures `count` more rounds into FOLDER. runs: [(what, function that returns the lines of one process)]"""
    for _ in range(count):
        number = len(list(folder.glob("round-*.json"))) + 1
        lines = []
        for what, run in runs if number % 2 else reversed(runs):
            found = run()
            print(f"round {number}: {what}: {len(found)} results", flush=True)
            lines += found
        result = {"machine": machine(), "commit": commit(), "when": time.strftime("%Y-%m-%d %H:%M"), "lines": lines}
        (folder / f"round-{number:02}.json").write_text(json.dumps(result) + "\n")


class Rounds:
    KEY = ("case", "contender")  # what tells lines of a round apart
    LEFT_OUT = ()                # numbers that no one wants to see later

    def __init__(self, rounds):
        self.rounds = rounds
        self._lines = [{tuple(line.get(field) for field in self.KEY): line for line in one["lines"]} for one in rounds]

    @classmethod
    def load(cls, folder):
        return cls([json.loads(path.read_text()) for path in sorted(folder.glob("round-*.json"))])

    def keys(self):
        return sorted({key for one in self._lines for key in one}, key=str)

    def column(self, metric, *key):
        """One value a round, None where it is missing."""
        return [one.get(key, {}).get(metric) for one in self._lines]

    def rows(self):
        for key in self.keys():
            lines = [one.get(key, {}) for one in self._lines]
            metrics = sorted({metric for line in lines for metric in line} - {*self.KEY, *self.LEFT_OUT})
            yield {**dict(zip(self.KEY, key)), **{metric: [line.get(metric) for line in lines] for metric in metrics}}

    def about(self, name):
        """The lines of a page below its title; `name` without ending."""
        some = self.rounds[-1]
        return [f"Machine: {some['machine']}. Commit {some['commit']}. {len(self.rounds)} rounds.",
                f"How it is measured: [README](../README.md). All numbers: [{name}.json]({name}.json).", "",
                f"![plots]({name}.svg)", ""]

    def write(self, output, page):
        """OUTPUT.md from the page's lines, and OUTPUT.json."""
        pathlib.Path(output + ".md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
        about = json.dumps([{key: value for key, value in one.items() if key != "lines"} for one in self.rounds])
        rows = ",\n".join(json.dumps(row) for row in self.rows())
        pathlib.Path(output + ".json").write_text(f'{{"rounds": {about},\n"rows": [\n{rows}\n]}}\n', encoding="utf-8")


def spread(values, scale, digits):
    present = [value * scale for value in values if value is not None]
    if not present:
        return "–"
    return f"{middle(present):,.{digits}f} ({min(present):,.{digits}f}–{max(present):,.{digits}f})"


def best(columns, better):
    """Round by round the best of what is there; better: max or min."""
    return [better((value for value in row if value), default=None) for row in zip(*columns)]
