# SPDX-License-Identifier: Apache-2.0
"""What the output of a GPU test or bench says. Plain functions: tested where there is no GPU."""

import json
import re

_ENDED = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] ([\w/]+\.[\w/]+?)(?:, where .*)? \(\d+ ms\)$")


def parse_gtest(output):
    """{"passed": [name], "failed": [name], "skipped": {name: reason}} of one GoogleTest program."""
    found = {"passed": [], "failed": [], "skipped": {}}
    reason, expects_reason = "", False
    for line in output.splitlines():
        ended = _ENDED.match(line)
        if line.startswith("[ RUN      ]"):
            reason = ""
        elif expects_reason:
            reason, expects_reason = reason or line.strip(), False
        elif line.endswith(": Skipped"):
            expects_reason = True
        elif ended and ended[1] == "SKIPPED":
            found["skipped"][ended[2]] = reason or "no reason given"
        elif ended:
            found["passed" if ended[1] == "OK" else "failed"].append(ended[2])
    return found


def parse_lines(output):
    """The JSON objects that a bench printed, one a line."""
    lines = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                pass  # a line torn by another rank's output
    return lines


def verdict(kind, code, timed_out, tests, lines):
    """passed, failed, skipped or timed out. A program in which some tests were skipped and others passed has passed."""
    if timed_out:
        return "timed out"
    if code != 0 or tests["failed"]:
        return "failed"
    ran = tests["passed"] if kind == "test" else [line for line in lines if "skipped" not in line]
    if ran:
        return "passed"
    skipped = tests["skipped"] if kind == "test" else lines
    return "skipped" if skipped else "failed"  # a program that says nothing has not done its work


def reasons_of(tests, lines):
    """Why something was skipped, each reason once."""
    return list(dict.fromkeys([*tests["skipped"].values(), *(line["skipped"] for line in lines if "skipped" in line)]))


def step_report(step, code, timed_out, seconds, output):
    """The entry of one step: {"name", "kind", "command", …} with what became of it."""
    tests = parse_gtest(output) if step["kind"] == "test" else {"passed": [], "failed": [], "skipped": {}}
    lines = parse_lines(output) if step["kind"] != "test" else []
    result = verdict(step["kind"], code, timed_out, tests, lines)
    entry = {"name": step["name"], "kind": step["kind"], "command": step["command"], "result": result,
             "seconds": round(seconds, 1), "exit": code}
    if step["kind"] == "test":
        entry["tests"] = tests
    else:
        entry["lines"] = lines
    if result == "skipped" or tests["skipped"]:
        entry["skipped_because"] = reasons_of(tests, lines)
    if result in ("failed", "timed out"):
        entry["output"] = output[-20000:]
    return entry


def summary(entries):
    count = {result: sum(entry["result"] == result for entry in entries)
             for result in ("passed", "failed", "timed out", "skipped", "not there")}
    return ", ".join(f"{number} {result}" for result, number in count.items() if number) or "nothing ran"


def is_good(entries):
    return not any(entry["result"] in ("failed", "timed out") for entry in entries)
