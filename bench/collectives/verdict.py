# SPDX-License-Identifier: Apache-2.0
"""The goals of the collectives and whether the results reach them. A goal over many sizes is judged by the worst one."""

from contenders import CROWDED_MPIS, MPIS, names_of
from goals import Goal, Row, judge, middle, percent, ratios
from results import size_text

KIB, MIB = 1 << 10, 1 << 20
BACKEND = ["shm_own", "shm_ordinary"]
EVERY_MPI = names_of(MPIS)
MEMORY = {"shm_own": "own buffers", "shm_ordinary": "ordinary memory"}


def against(results, part, ours, theirs, first, last, slower=False):
    """{where: how many times faster ours are (or slower)}, for sizes first … last."""
    found = {}
    for size in results.sizes(part):
        for name in ours if first <= size <= last else ():
            pair = results.best(part, theirs, size), results.seconds(part, name, size)
            where = f"{size_text(size)}, {MEMORY[name]}"
            found[where] = ratios(*(reversed(pair) if slower else pair))
    return found


def all_reduce_rows(results):
    def rows(ours, first, last, goals):
        names = {tuple(EVERY_MPI): "best MPI", ("gloo",): "Gloo", tuple(MPIS["Open MPI 4.1"]): "Open MPI 4.1"}
        memory = MEMORY[ours[0]] if len(ours) == 1 else "Backend"
        span = size_text(first) if first == last else f"{size_text(first)} – {size_text(last)}"
        return [judge(f"all-reduce, {span}, {memory}: faster than {names[tuple(theirs)]}", Goal(need),
                      against(results, "main", ours, theirs, first, last)) for theirs, need in goals]

    open_mpi4 = MPIS["Open MPI 4.1"]
    never_slower = Goal(1.03, at_most=True)
    found = [judge("all-reduce, 8 – 64 B, Backend: time / best MPI's", never_slower,
                   against(results, "main", BACKEND, EVERY_MPI, 8, 64, slower=True))]
    aims = {"yes": "aim reached", "NO": "aim missed"}
    for row in rows(BACKEND, 8, 64, [(EVERY_MPI, 1.3)]):
        found.append(row._replace(verdict=aims.get(row.verdict, row.verdict)))
    found += rows(BACKEND, 8, 64, [(["gloo"], 100)])
    found += rows(BACKEND, KIB, KIB, [(EVERY_MPI, 1.5)])
    found += rows(["shm_own"], 4 * KIB, 256 * KIB, [(EVERY_MPI, 3)])
    found += rows(["shm_ordinary"], 4 * KIB, 256 * KIB, [(EVERY_MPI, 1.5)])
    found += rows(BACKEND, 4 * KIB, 64 * KIB, [(["gloo"], 50)])
    found += rows(["shm_ordinary"], MIB, 64 * MIB, [(EVERY_MPI, 1.5), (["gloo"], 6)])
    found += rows(["shm_own"], MIB, 64 * MIB, [(EVERY_MPI, 2.5), (open_mpi4, 4)])
    found += rows(["shm_own"], MIB, 32 * MIB, [(["gloo"], 9)])
    found += rows(["shm_own"], 64 * MIB, 64 * MIB, [(["gloo"], 7)])
    of_limit = {size_text(size): ratios(results.limit("main", size), results.seconds("main", "shm_own", size))
                for size in results.sizes("main") if size >= MIB}
    found.append(judge("all-reduce, 1 – 64 MiB, own buffers: of the limit", percent(0.7), of_limit))
    found.append(judge("all-reduce, every power of two ± one element, 8 B – 256 MiB: time / fastest other's", never_slower,
                       against(results, "odd", BACKEND, [*EVERY_MPI, "oneccl"], 1, 257 * MIB, slower=True)))
    return found


def dtype_rows(results):
    def pairs(above, below, first):
        return {f"{size_text(size)}, {MEMORY[name]}": ratios(results.seconds("dtypes", name, size, above),
                                                            results.seconds("dtypes", name, size, below))
                for size in results.sizes("dtypes") if size >= first for name in BACKEND}
    return [judge("all-reduce of bfloat16: bytes/s / float32's", Goal(0.9),
                  pairs("all_reduce", "all_reduce_bf16", 64 * KIB)),
            judge("all-reduce of float16: bytes/s / float32's", Goal(0.9),
                  pairs("all_reduce", "all_reduce_f16", 64 * KIB)),
            judge("avg: time / sum's", Goal(1.03, at_most=True), pairs("all_reduce_avg", "all_reduce", 64 * KIB)),
            judge("order tree, ≥ 1 MiB: time / any order's", Goal(1.1, at_most=True),
                  pairs("all_reduce", "all_reduce_any", MIB))]


# More than the limit means that the data lay in caches: then the limit says nothing, and only the comparison counts.
BOUND_BY_MEMORY = 1.1


def kind_row(results, case, name):
    """1.5 times the best MPI, or 80 % of the limit, whichever is nearer, at each size."""
    faster, of_limit = Goal(1.5), percent(0.8)
    criterion = f"{case}, 64 KiB – 64 MiB, {MEMORY[name]}: faster than best MPI, or of the limit"
    needed = f"{faster.needed()} or {of_limit.needed()}"
    found = {}
    for size in results.sizes("kinds", case):
        seconds = results.seconds("kinds", name, size, case)
        pair = (ratios(results.best("kinds", EVERY_MPI, size, case), seconds),
                ratios(results.limit("kinds", size, case), seconds))
        if all(pair):
            found[size] = pair
    if not found:
        return Row(criterion, needed, "–", "not measured")

    def score(size):
        times, share = map(middle, found[size])
        return max(times / faster.need, share / of_limit.need if share <= BOUND_BY_MEMORY else 0)
    worst = min(found, key=score)
    reached = f"{faster.spread(found[worst][0])}, {of_limit.spread(found[worst][1])}, {size_text(worst)}"
    return Row(criterion, needed, reached, "yes" if score(worst) >= 1 else "NO")


def crowd_rows(results):
    ours = results.best("crowd", ["communicator_own", "communicator_ordinary"], KIB)

    def faster_than(theirs):
        return {"": ratios(results.best("crowd", theirs, KIB), ours)}
    idle = {"": [one["idle"]["cpu_share"] for one in results.of("crowd")]}

    best = judge("… than the best of all MPIs and settings", Goal(1), faster_than(names_of(CROWDED_MPIS)))
    return [judge("8 ranks on 2 cores, 1 KiB: faster than mpirun --oversubscribe (Open MPI 4.1, its better setting)",
                  Goal(3), faster_than(CROWDED_MPIS["Open MPI 4.1"])),
            best._replace(needed="–", verdict="for information"),
            judge("an idle rank's share of its core", percent(0.02, at_most=True), idle)]


def cost_rows(results):
    def nanoseconds(criterion, need, values):
        return judge(criterion, Goal(need * 1e-9, at_most=True, unit=" ns", scale=1e9), {"": values})
    costs = [one["cost"] for one in results.of("cost")]
    recorder = [cost["communicator"] - cost["communicator_unrecorded"] for cost in costs
                if "communicator_unrecorded" in cost]
    return [nanoseconds("fingerprint of a call, written and compared", 20,
                        [cost["fingerprint_written_and_compared"] for cost in costs]),
            nanoseconds("recorder, a call", 50, recorder)]


def rows(results):
    kinds = [kind_row(results, case, name) for case in ("all_gather", "reduce_scatter", "broadcast", "all_to_all")
             for name in BACKEND]
    return [*all_reduce_rows(results), *dtype_rows(results), *kinds, *crowd_rows(results), *cost_rows(results)]
