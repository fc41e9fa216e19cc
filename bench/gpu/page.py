#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page of bench/results about a GPU: joins a report of tests/gpu/run with the goals.

usage: bench/gpu/page.py [gpu-report.json] [--output bench/results/DATE-gpu]
Without a report: a page that lists the goals and the commands, and says that nothing was run.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))
from goals import Row, table  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOT_RUN = "Nothing on this page was run on a GPU: none could be had while this was written."
# GB/s of the GPU's memory by its data sheet; the first name that is part of nvidia-smi's.
BANDWIDTH = {"H200": 4800, "H100 PCIe": 2000, "H100 NVL": 3900, "H100": 3350, "A100-SXM4-80GB": 2039, "A100": 1555,
             "B200": 8000}


def lines_of(report, bench):
    return [line for step in report["steps"] for line in step.get("lines", [])
            if line.get("bench") == bench and "skipped" not in line]


def tests_of(report, name):
    """The tests called `name` in all steps: their results, skipped ones left out."""
    found = []
    for step in report["steps"]:
        tests = step.get("tests", {"passed": [], "failed": []})
        found += [True for test in tests["passed"] if test.endswith(name)]
        found += [False for test in tests["failed"] if test.endswith(name)]
    return found


def row(criterion, needed, values, unit, met):
    """values: of lines, which may be none; judged by their median."""
    if not values:
        return Row(criterion, needed, "–", "not run")
    value = statistics.median(values)
    spread = f" ({min(values):,.3g}–{max(values):,.3g})" if len(values) > 1 else ""
    return Row(criterion, needed, f"{value:,.3g}{unit}{spread}", "yes" if met(value) else "NO")


def row_of_tests(report, criterion, names):
    results = [result for name in names for result in tests_of(report, name)]
    if not results:
        return Row(criterion, "all pass", "–", "not run")
    return Row(criterion, "all pass", f"{sum(results)} of {len(results)} pass", "yes" if all(results) else "NO")


def rated_bandwidth(gpu):
    return next((rate for name, rate in BANDWIDTH.items() if name in gpu), None)


def share_of_bandwidth(line):
    rated = rated_bandwidth(line["gpu"])
    return 100 * line["gb_per_s"] / (rated or line["copy_gb_per_s"])


def goals(report):
    """[(row, command)]"""
    training = lines_of(report, "training")
    rows = [
        (row("host time of all_reduce over raw ncclAllReduce + event", "≤ 3 µs",
             [line["added_us"] for line in lines_of(report, "overhead")], " µs", lambda x: x <= 3), "bench_gpu_overhead")]
    for shape in ("gpt2", "resnet50"):
        own = [line for line in training if line["shape"] == shape]
        rows += [
            (row(f"{shape}: world-1 runtime over a bare loop, time", "≤ 0.5 %",
                 [100 * line["time_added"] for line in own], " %", lambda x: x <= 0.5), f"bench_gpu_training {shape}"),
            (row(f"{shape}: the same, peak memory", "≤ 1 %",
                 [100 * line["memory_added"] for line in own], " %", lambda x: x <= 1), f"bench_gpu_training {shape}")]
    graph = lines_of(report, "graph")
    return rows + [
        (row_of_tests(report, "no host wait, no copy to the host in a step that does not log",
                      ["does_not_wait_for_the_device_in_steps_that_do_not_log",
                       "reading_a_number_is_counted_as_a_wait_and_a_copy"]), "ddp_gpu_rank_test"),
        (row("CUDA graph over eager, small convolutional net", "≥ 2×", [line["speedup"] for line in graph], "×",
             lambda x: x >= 2), "bench_gpu_graph"),
        (row("losses of graph and eager equal bit for bit, 200 steps", "1", [float(line["equal_losses"]) for line in graph],
             "", lambda x: x == 1), "bench_gpu_graph"),
        (row("fused AdamW, 124M float32, of the memory's rated bandwidth (of a copy's where it is not known)", "≥ 80 %",
             [share_of_bandwidth(line) for line in lines_of(report, "adamw")], " %", lambda x: x >= 80), "bench_gpu_adamw"),
        (row_of_tests(report, "two ranks equal one rank bit for bit", ["has_the_bits_of_one_rank"]),
         "ddp_gpu_rank_test, 2 ranks")]


def goal_table(report):
    return table(["goal", "needed", "reached", "met", "command"],
                 [[*judged, f"`{command}`"] for judged, command in goals(report)])


def other_tables(report):
    order = [[f"{line['kib']:,} KiB", str(line["ranks"]), line["transport"] + (", one GPU" if line["shared_gpu"] else ""),
              f"{line['tree_us']:,.1f}", f"{line['any_us']:,.1f}"] for line in lines_of(report, "order")]
    kernels = [[line["kernel"], f"{line['gb_per_s']:,.0f}"] for line in lines_of(report, "kernels")]
    steps = [[step["name"], step["result"], f"{step.get('seconds', 0):,.1f}", "; ".join(step.get("skipped_because", []))]
             for step in report["steps"]]
    page = []
    if order:
        page += ["## All-reduce in tree order and in NCCL's own", "",
                 *table(["size", "ranks", "over", "tree, µs", "any, µs"], order)]
    if kernels:
        page += ["## Bandwidth of our kernels", "", *table(["kernel", "GB/s, read and written"], kernels)]
    return page + (["## Steps", "", *table(["step", "result", "seconds", "skipped because"], steps)] if steps else [])


def ran_on_gpu(report):
    return any(step["result"] in ("passed", "failed", "timed out") for step in report["steps"]) and report["host"]["gpus"]


def page(report, date):
    if not ran_on_gpu(report):
        head = [NOT_RUN, "", f"# GPUs, {date}", "",
                "What is to be run where there is one: `tests/gpu/bundle lockstep-gpu.tar.gz` here, `python3 lockstep-gpu/run` there "
                "([docs/gpus.md](../../docs/gpus.md)), then `bench/gpu/page.py gpu-report.json`. Each command is a step of `run`.", ""]
        return [*head, *goal_table(report)]
    host = report["host"]
    gpus = "; ".join(f"{gpu['name']}, driver {gpu['driver_version']}" for gpu in host["gpus"])
    return [f"# GPUs, {date}", "", f"GPUs: {gpus}. torch {host['torch']}, NCCL {host['nccl']}. Commit {report['bundle']['commit']}. "
            f"{report['summary']}.", "", *goal_table(report), *other_tables(report)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=pathlib.Path)
    date = time.strftime("%Y-%m-%d")
    parser.add_argument("--output", default=str(ROOT / f"bench/results/{date}-gpu"))
    options = parser.parse_args()
    report = json.loads(options.report.read_text()) if options.report else {"host": {"gpus": []}, "steps": []}
    text = "\n".join(page(report, date)).rstrip() + "\n"
    pathlib.Path(options.output + ".md").write_text(text, encoding="utf-8")
    if options.report:
        pathlib.Path(options.output + ".json").write_text(json.dumps(report, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
