# SPDX-License-Identifier: Apache-2.0
"""What webdataset writes, lockstep reads, and the other way round."""

import io
import pathlib
import sys
import tarfile
import tempfile
import unittest

import records_program

try:
    import webdataset
except ImportError as error:
    print(f"[  SKIPPED ] {error}; cmake/bootstrap --tests installs it")
    sys.exit()


def samples():
    return [(f"part.1/{i:06}", {"jpg": bytes([i]) * 3000, "cam.left.png": b"png" * i, "cls": b"%d" % i}) for i in range(10)]


def raw(folder):
    """[(key, {field: bytes})] as webdataset groups the files of a folder's shards."""
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    found = []
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        found.append((sample["__key__"], {name: value for name, value in sample.items() if not name.startswith("__")}))
    return found


class Webdataset(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        with webdataset.ShardWriter(f"{folder.name}/%05d.tar", maxcount=4, verbose=0) as writer:
            for key, fields in samples():
                writer.write({"__key__": key, **fields})

    def test_lockstep_reads_what_webdataset_writes(self):
        self.assertEqual(len(list(self.folder.glob("*.tar"))), 3)
        self.assertEqual(records_program.read(self.folder), samples())

    def test_lockstep_and_webdataset_read_the_same(self):
        with_odd_files = self.folder / "odd"
        with_odd_files.mkdir()
        with tarfile.open(with_odd_files / "a.tar", "w") as tar:
            for name in ("__about__/x.txt", "readme", "a/b.JPG", "a/b.cls", "c.d/e.f.g", "c.d/h", "i.jpg", "a/b.jpg"):
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))
        theirs = raw(with_odd_files)
        self.assertEqual([key for key, _ in theirs], ["a/b", "c.d/e", "i", "a/b"])
        ours = records_program.read(with_odd_files)
        wanted = {"jpg", "cls"}  # the fields of the first sample
        # A sample without any of them has no key to show.
        self.assertEqual(ours, [(key if wanted & fields.keys() else "?", {n: v for n, v in fields.items() if n in wanted})
                                for key, fields in theirs])

    def test_webdataset_reads_what_lockstep_packs(self):
        records_program.run("pack", self.folder, self.folder / "packed")
        self.assertEqual(raw(self.folder / "packed"),
                         [(f"{i:09}", fields) for i, (_, fields) in enumerate(samples())])


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # webdataset leaves files to the garbage collector
