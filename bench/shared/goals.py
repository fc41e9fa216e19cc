# SPDX-License-Identifier: Apache-2.0
"""Goals, whether values reach them, and tables of them. A goal over many cases is judged by the worst one."""

import statistics
from typing import NamedTuple


def ratios(above, below):
    return [a / b for a, b in zip(above, below) if a and b]


def middle(values):
    """The median of those that are there."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


class Row(NamedTuple):
    criterion: str
    needed: str
    reached: str
    verdict: str


class Goal(NamedTuple):
    """`unit` follows a number that is multiplied by `scale`; at least `need`, or at most."""
    need: float
    at_most: bool = False
    unit: str = "×"
    scale: float = 1.0

    def text(self, value):
        shown = value * self.scale
        digits = 0 if abs(shown) >= 10 else 3 if self.at_most and self.unit == "×" else 2
        return f"{shown:,.{digits}f}{self.unit}"

    def needed(self):
        return f"{'≤' if self.at_most else '≥'} {self.need * self.scale:g}{self.unit}"

    def met(self, value):
        return value <= self.need if self.at_most else value >= self.need

    def spread(self, values):
        return f"{self.text(statistics.median(values))} ({self.text(min(values))}–{self.text(max(values))})"


def judge(criterion, goal, candidates):
    """candidates: {where: a value a launch}. Medians are judged."""
    found = {where: values for where, values in candidates.items() if values}
    if not found:
        return Row(criterion, goal.needed(), "–", "not measured")
    worst = (max if goal.at_most else min)(found, key=lambda where: statistics.median(found[where]))
    met = goal.met(statistics.median(found[worst]))
    where = f", {worst}" if worst else ""
    return Row(criterion, goal.needed(), goal.spread(found[worst]) + where, "yes" if met else "NO")


def percent(need, at_most=False):
    return Goal(need, at_most, " %", 100)


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in rows), ""]
