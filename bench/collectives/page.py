# SPDX-License-Identifier: Apache-2.0
"""The page of results: one table a question, and the JSON beside it."""

import json
import pathlib

import verdict
from contenders import MPIS, names_of
from goals import middle, ratios, table
from results import BUS, Results, size_text

EVERY_MPI = names_of(MPIS)


def micro(seconds):
    return f"{seconds * 1e6:,.3g}" if seconds and seconds < 1e-4 else f"{seconds * 1e6:,.0f}" if seconds else "–"


def giga(size, seconds):
    return f"{size / seconds / 1e9:.2f}" if seconds else "–"


def times(values):
    return f"{middle(values):.2f}" if values else "–"


def percent(values):
    return f"{middle(values):.0%}" if values else "–"


def limits(results):
    all_limits = [one["limits"] for part in results.launches for one in results.of(part) if "limits" in one]
    if not all_limits:
        return []

    def spread(key, scale):
        values = [one[key] * scale for one in all_limits]
        return f"{middle(values):.1f} ({min(values):.1f}–{max(values):.1f})"
    return ["## What the machine can do at most", "",
            "Measured in every launch: streaming sums of two arrays into one of them, reads and writes counted, the better of",
            "plain and non-temporal stores. Limit of the algorithm bandwidth of an all-reduce of n ranks: min(all cores / 2n, one",
            "core / 2). The limits of the other calls count what must be read and written likewise (`results.py`).", "",
            *table(["", "median (least–most)"],
                   [["one core, GB/s", spread("core_bytes_per_second", 1e-9)],
                    ["all ranks' cores together, GB/s", spread("node_bytes_per_second", 1e-9)],
                    ["one cache line from core to core, ns", spread("line_seconds", 1e9)]])]


def all_reduce(results):
    others = {**MPIS, "oneCCL": ["oneccl"], "Gloo": ["gloo"]}
    sizes = results.sizes("main")
    ours = []
    for size in sizes:
        cells = [size_text(size)]
        for name in ("shm_own", "shm_ordinary"):
            seconds = results.seconds("main", name, size)
            p99 = middle(results.seconds("main", name, size, what="p99"))
            of_limit = percent(ratios(results.limit("main", size), seconds)) if size >= 1 << 20 else "–"
            cells += [micro(middle(seconds)), micro(p99), giga(size, middle(seconds)), of_limit]
        ours.append([*cells, micro(middle(results.seconds("main", "communicator_own", size)))])
    theirs = []
    for size in sizes:
        best = results.best("main", EVERY_MPI, size)
        theirs.append([size_text(size),
                       *(micro(middle(results.seconds("main", name, size))) for name in ("shm_own", "shm_ordinary", "mpi")),
                       *(micro(middle(results.best("main", names, size))) for names in others.values()),
                       *(times(ratios(best, results.seconds("main", name, size))) for name in ("shm_own", "shm_ordinary"))])
    return ["## How fast is our all-reduce?", "",
            "float32, in place. µs: median and 99th percentile; GB/s: bytes / median, which is the bus bandwidth too where ranks are",
            "two; % of the limit above, from 1 MiB. Own: memory of `allocate()`; ordinary: of malloc; both at the Backend layer.", "",
            *table(["size", "own µs", "p99", "GB/s", "% limit", "ordinary µs", "p99", "GB/s", "% limit", "Communicator, own µs"], ours),
            "## And the others?", "",
            "µs, the best setting of each library in each launch; ratios: best MPI / ours.", "",
            *table(["size", "own", "ordinary", "ours over MPI", *others, "MPI / own", "MPI / ordinary"], theirs)]


def odd(results):
    rows = []
    for size in results.sizes("odd"):
        best = results.best("odd", [*EVERY_MPI, "oneccl"], size)
        own, ordinary = (results.seconds("odd", name, size) for name in ("shm_own", "shm_ordinary"))
        rows.append([f"{size:,}", micro(middle(own)), micro(middle(ordinary)), micro(middle(best)),
                     results.best_name("odd", [*EVERY_MPI, "oneccl"], size), times(ratios(own, best)),
                     times(ratios(ordinary, best))])
    return ["## Sizes that are no power of two", "", "Powers of two ± one element. µs; ratios: ours / the fastest other.", "",
            *table(["bytes", "own", "ordinary", "fastest other", "which", "own / it", "ordinary / it"], rows)]


def kinds(results):
    rows = []
    for case in ("all_gather", "reduce_scatter", "broadcast", "all_to_all"):
        for size in results.sizes("kinds", case):
            best = results.best("kinds", EVERY_MPI, size, case)
            own, ordinary = (results.seconds("kinds", name, size, case) for name in ("shm_own", "shm_ordinary"))
            limit = results.limit("kinds", size, case)
            bandwidths = [giga(size, middle(own)), giga(size * BUS[case], middle(own))]
            rows.append([case, size_text(size), micro(middle(own)), micro(middle(ordinary)), micro(middle(best)),
                         results.best_name("kinds", EVERY_MPI, size, case), *bandwidths, percent(ratios(limit, own)),
                         percent(ratios(limit, ordinary)), times(ratios(best, own)), times(ratios(best, ordinary))])
    return ["## The other collectives", "",
            "float32, out of place but for broadcast. The size is that of the whole array, as in nccl-tests.", "",
            *table(["call", "size", "own µs", "ordinary µs", "best MPI µs", "which", "own GB/s", "bus", "own % limit",
                    "ordinary % limit", "MPI / own", "MPI / ordinary"], rows)]


def dtypes(results):
    cases = ["all_reduce_bf16", "all_reduce_f16", "all_reduce_avg", "all_reduce_any", "all_reduce_out"]
    rows = []
    for name, memory in verdict.MEMORY.items():
        for size in results.sizes("dtypes"):
            plain = results.seconds("dtypes", name, size)
            rows.append([memory, size_text(size), micro(middle(plain)),
                         *(times(ratios(results.seconds("dtypes", name, size, case), plain)) for case in cases)])
    return ["## Dtypes, avg, order of additions, out of place", "",
            "Calls take turns in one process. Times of the same number of bytes, relative to float32, sum, order tree, in place.", "",
            *table(["memory", "size", "that µs", "bfloat16", "float16", "avg", "order any", "out of place"], rows)]


def crowd(results):
    rows = []
    ours = results.best("crowd", ["communicator_own", "communicator_ordinary"], 1 << 10)
    for name in results.contenders("crowd"):
        seconds = results.seconds("crowd", name, 1 << 10)
        rows.append([name, micro(middle(seconds)), micro(middle(results.seconds("crowd", name, 1 << 10, what="p99"))),
                     times(ratios(seconds, ours))])
    return ["## More ranks than cores", "",
            "8 ranks on 2 cores, 1 KiB, bursts of 20 calls with writing and checking of their data; µs a call.", "",
            *table(["", "median µs", "p99", "/ ours"], rows)]


def cost(results):
    costs = [one["cost"] for one in results.of("cost")]
    rows = [[name, f"{middle([one.get(name) for one in costs]) * 1e9:.1f}"] for name in (costs[0] if costs else [])]
    return ["## What a call costs, layer by layer", "",
            "All-reduce of 8 B in bursts of 1,000, each with writing and checking of its data; the fingerprint alone.", "",
            *table(["", "ns"], rows)]


SECTIONS = {"main": all_reduce, "odd": odd, "kinds": kinds, "dtypes": dtypes, "crowd": crowd, "cost": cost}


def write(folder, output):
    """Writes OUTPUT.md and OUTPUT.json; returns the table of goals."""
    results = Results.load(folder)
    some = next(one for part in results.launches for one in results.of(part))
    goals = ["## Goals", "", "The worst size counts. Ratios are taken launch by launch: median (least–most).", "",
             *table(["goal", "needed", "reached", "met"], verdict.rows(results))]
    name = pathlib.Path(output).name
    lines = [f"# Collectives on one host, {name[:10]}", "",
             f"Machine: {some['machine']}. Two ranks, a core each, if not said otherwise. Launches: "
             + ", ".join(f"{part} {len(results.of(part))}" for part in SECTIONS) + ".",
             f"How it is measured: [README](../README.md). All numbers: [{name}.json]({name}.json).", "",
             f"![plots]({name}.svg)", "",
             *goals, *limits(results)]
    for part, section in SECTIONS.items():
        if results.of(part):
            lines += section(results)
    pathlib.Path(output + ".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    rows = ",\n".join(json.dumps(row) for row in results.rows())
    about = json.dumps({part: [{key: value for key, value in one.items() if key != "lines"} for one in of]
                        for part, of in results.launches.items()})
    pathlib.Path(output + ".json").write_text(f'{{"launches": {about},\n"rows": [\n{rows}\n]}}\n', encoding="utf-8")
    return "\n".join(goals)
