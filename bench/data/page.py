# SPDX-License-Identifier: Apache-2.0
"""The goals of the data layer, whether the rounds reach them, and the page of results with the JSON beside it."""

import pathlib

from goals import Goal, judge, percent, ratios, table
from rounds import Rounds, best, spread

BATCHES = (64, 256)
CASES = {"D1": "2 KiB records", "D2": "100 kB records"}
OURS = tuple(f"lockstep {form}, {threads} threads" for form in ("tar", "tar-checked", "hdf5") for threads in (1, 2))
SAMPLES, BYTES = "samples_per_second", "bytes_per_second"


class Data(Rounds):
    KEY = ("case", "contender", "batch")
    LEFT_OUT = ("seconds",)

    def values(self, case, contender, metric, batch=None):
        return self.column(metric, case, contender, batch)

    def present(self, *key):
        return [value for value in self.values(*key) if value is not None]

    def peers(self, case):
        return sorted({contender for of, contender, _ in self.keys() if of == case
                       and not contender.startswith(("lockstep", "limit"))})

    def best_peer(self, case, batch, but=()):
        return best([self.values(case, name, SAMPLES, batch) for name in self.peers(case) if not name.startswith(but)], max)


def by_batch(values):
    """values: a function of the size of a batch."""
    return {f"batch {batch}": values(batch) for batch in BATCHES}


def times_peers(data, case, but=()):
    """How many times faster than the fastest of the others in the same round; `but`: beginnings of names left out."""
    return by_batch(lambda batch: ratios(data.values(case, "lockstep tar, 2 threads", SAMPLES, batch),
                                         data.best_peer(case, batch, but)))


def times_peer(data, case, names):
    """How many times faster than the fastest of these in the same round."""
    def of(batch):
        fastest = best([data.values(case, name, SAMPLES, batch) for name in names], max)
        return ratios(data.values(case, "lockstep tar, 2 threads", SAMPLES, batch), fastest)
    return by_batch(of)


def of_images(data, case, threads, reference):
    """Of the images a second of "plain" libjpeg, or of the loader with the "cameras" alone; by kind of image."""
    names = [name for of, name, _ in data.keys() if of == case and name.endswith(f", {threads} threads")]
    return {name.rpartition(",")[0]: ratios(data.values(case, name, "images_per_second"),
                                            data.values(case, name, f"{reference}_images_per_second")) for name in names}


def goal_rows(data):
    tar, hdf5 = "lockstep tar, 2 threads", "lockstep hdf5, 2 threads"
    info = {"needed": "–", "verdict": "for information"}
    positions = [contender for case, contender, _ in data.keys() if case == "D5"]

    def of_limit(case, batch):
        return ratios(data.values(case, tar, SAMPLES, batch), data.values(case, "limit, 2 threads", SAMPLES, batch))
    found = [
        judge("D1: shuffled 2 KiB records from tar, 2 threads", Goal(1.5e6, unit=" M samples/s", scale=1e-6),
              by_batch(lambda batch: data.present("D1", tar, SAMPLES, batch))),
        judge("D1: torch DataLoader over an array, no workers", Goal(2),
              times_peer(data, "D1", ["torch array, 0 workers"])),
        judge("D1: torch DataLoader over an array, 2 workers", Goal(10),
              times_peer(data, "D1", ["torch array, 2 workers"])),
        judge("D1: webdataset", Goal(30),
              times_peer(data, "D1", ["webdataset, 0 workers", "webdataset, 2 workers"])),
        judge("D2: shuffled 100 kB records from tar, 2 threads", Goal(10e9, unit=" GB/s", scale=1e-9),
              by_batch(lambda batch: data.present("D2", tar, BYTES, batch))),
        judge("D2: of what 2 threads copy", percent(0.5), by_batch(lambda batch: of_limit("D2", batch))),
        judge("D3: headers of an index-less tar", Goal(500e3, unit="k/s", scale=1e-3),
              {"": data.present("D3", "lockstep", "headers_per_second")}),
        *(judge(f"D4: JPEGs from tar, of a plain libjpeg loop, {threads} thread(s)", percent(0.9),
                of_images(data, "D4", threads, "plain")) for threads in (1, 2)),
        judge("D5: first batch at N = 10⁹", Goal(0.1, at_most=True, unit=" ms", scale=1e3),
              {where: data.present("D5", where, "first_batch_seconds") for where in positions}),
        judge("D5: memory for it", Goal(64 << 20, at_most=True, unit=" MiB", scale=1 / (1 << 20)),
              {where: data.present("D5", where, "extra_bytes") for where in positions}),
        *(judge(f"D20: HDF5 (with checksums), 100 kB records, 2 threads, of {form}", percent(0.9),
                by_batch(lambda batch, of=name: ratios(data.values("D2", hdf5, SAMPLES, batch),
                                                       data.values("D2", of, SAMPLES, batch))))
          for form, name in (("tar without checksums", tar), ("tar with checksums", "lockstep tar-checked, 2 threads"))),
        *(judge(f"D21: driving sample, of D4's pipeline with its cameras, {threads} thread(s)", percent(0.9),
                of_images(data, "D21", threads, "cameras")) for threads in (1, 2)),
        judge("D1: of what 2 threads copy", percent(0), by_batch(lambda batch: of_limit("D1", batch)))._replace(**info)]
    for case, what in CASES.items():
        found += [judge(f"{case}: faster than the fastest other that takes records one by one", Goal(0),
                        times_peers(data, case, ("torch memmap, whole batches",)))._replace(**info),
                  judge(f"{case}: … than torch's DataLoader with whole batches of an array, too", Goal(0),
                        times_peers(data, case))._replace(**info)]
    return found


def case_table(data, case):
    rows = []
    for contender in ("limit, 1 threads", "limit, 2 threads", *OURS, *data.peers(case)):
        cells = [contender]
        for batch in BATCHES:
            cells += [spread(data.values(case, contender, SAMPLES, batch), 1e-3, 1),
                      spread(data.values(case, contender, BYTES, batch), 1e-9, 2)]
        rows.append(cells)
    head = ["", *(f"{what}, batches of {batch}" for batch in BATCHES for what in ("1,000 samples/s", "GB/s"))]
    return [f"## {case}: {CASES[case]}", "", *table(head, rows)]


def write(folder, output):
    """Writes OUTPUT.md and OUTPUT.json; returns the table of goals."""
    data = Data.load(folder)
    goals = ["## Goals", "", "The worst case counts. Ratios are taken round by round: median (least–most).", "",
             *table(["goal", "needed", "reached", "met"], goal_rows(data))]
    name = pathlib.Path(output).name
    copies = [[f"{threads}", spread(data.values("memcpy", f"limit, {threads} threads", BYTES, 1), 1e-9, 1)] for threads in (1, 2)]
    lines = [f"# The data layer, {name[:10]}", "",
             *data.about(name), *goals,
             "## What the machine can do at most", "", "memcpy of 64 MiB, in GB/s. The limits of D1 and D2 below copy their",
             "records, in random order, from the page cache into batches.", "",
             *table(["threads", "GB/s"], copies), *case_table(data, "D1"), *case_table(data, "D2")]
    data.write(output, lines)
    return "\n".join(goals)
