# SPDX-License-Identifier: Apache-2.0
"""summary.py RESULTS_XML COUNTS_FILE GPU_TESTS_JSON: sums up a CTest run for tests/run.

Prints each skip with its reason, then "N passed, N failed, N skipped", which it also writes to COUNTS_FILE. Exits with 1
on a failure and, where CI=true, on a skip of a test that does not need a GPU.
"""

import json
import os
import sys
import xml.etree.ElementTree as xml


def verdict(case):
    """passed, failed or skipped."""
    if case.get("status") == "run":
        return "passed"
    skip = case.find("skipped")
    if skip is None or not skip.get("message", "").startswith("SKIP_"):
        return "failed"  # failed, timed out, disabled, or its program was not found
    # CTest counts a program as skipped when one of its tests is, even if another failed or it crashed afterwards.
    output = output_of(case)
    gtest_ended_well = "[  PASSED  ]" in output and "[  FAILED  ]" not in output
    return "skipped" if skip.get("message").startswith("SKIP_RETURN_CODE") or gtest_ended_well else "failed"


def output_of(case):
    return case.findtext("system-out") or ""


def skip_reasons(case):
    """GoogleTest prints "file:line: Skipped" and the reason below; others print the reason last."""
    lines = [line.strip() for line in output_of(case).splitlines()]
    reasons = [after for line, after in zip(lines, lines[1:]) if line.endswith(": Skipped") and after]
    reasons = list(dict.fromkeys(reasons)) or [line for line in lines if line][-1:]
    return reasons or ["no reason given"]


def main(results, counts_file, gpu_tests):
    if not os.path.exists(results):
        print("tests/run: ctest wrote no results, so nothing can be counted", file=sys.stderr)
        return 1
    gpu = {test["name"] for test in json.loads(gpu_tests)["tests"]}
    cases = [(case, verdict(case)) for case in xml.parse(results).getroot().iter("testcase")]
    refused = 0
    for case, result in cases:
        if result == "skipped":
            print(f"skipped: {case.get('name')}: {'; '.join(skip_reasons(case))}")
            refused += case.get("name") not in gpu
    number = {kind: sum(result == kind for _, result in cases) for kind in ("passed", "failed", "skipped")}
    in_ci = os.environ.get("CI") == "true"
    if in_ci and refused:
        print(f"tests/run: in CI only tests labelled gpu may be skipped, but {refused} other(s) were")
    line = ", ".join(f"{count} {kind}" for kind, count in number.items())
    with open(counts_file, "w", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)
    return 1 if number["failed"] or (in_ci and refused) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
