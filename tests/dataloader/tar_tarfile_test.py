# SPDX-License-Identifier: Apache-2.0
"""What Python's tarfile and GNU tar write, lockstep reads, and the other way round."""

import io
import pathlib
import subprocess
import tarfile
import tempfile
import unittest

import records_program

LONG = "folder-" + 60 * "x" + "/" + 60 * "y"  # a name and a prefix
LONGER = 3 * (120 * "z" + "/") + 200 * "k"  # nothing but an extension holds it


def samples():
    keys = ["000", "a/001", "drive 1.5/002", "ä/003", LONG, LONGER, "./004"]
    return [(key, {"jpg": bytes([i]) * (i * 700), "cam.left.json": b"{}", "cls": b""}) for i, key in enumerate(keys)]


def write(path, tar_format):
    with tarfile.open(path, "w", format=tar_format) as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for key, fields in samples():
            for name, content in fields.items():
                if tar_format == tarfile.USTAR_FORMAT and key == LONGER:
                    continue
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                member.mtime = 1234567890.5  # pax stores it in an extended header
                tar.addfile(member, io.BytesIO(content))


class Tarfile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_lockstep_reads_every_format(self):
        for tar_format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with self.subTest(tar_format):
                write(self.folder / "a.tar", tar_format)
                expected = [s for s in samples() if tar_format != tarfile.USTAR_FORMAT or s[0] != LONGER]
                self.assertEqual(records_program.read(self.folder), expected)

    def test_lockstep_reads_what_gnu_tar_writes(self):
        for key, fields in samples()[:6]:
            for name, content in fields.items():
                path = self.folder / "in" / f"{key}.{name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        for tar_format in ("gnu", "oldgnu", "pax"):
            with self.subTest(tar_format):
                subprocess.run(["tar", f"--format={tar_format}", "--sort=name", "-C", self.folder / "in", "-cf",
                                self.folder / "a.tar", "."], check=True)
                found = records_program.read(self.folder)
                self.assertEqual(sorted(found), sorted([(f"./{key}", fields) for key, fields in samples()[:6]]))

    def test_lockstep_refuses_sparse_files(self):
        with open(self.folder / "1.npy", "wb") as file:
            file.truncate(1 << 20)
        for tar_format in ("gnu", "pax"):
            with self.subTest(tar_format):
                subprocess.run(["tar", f"--format={tar_format}", "--sparse", "-C", self.folder, "-cf", self.folder / "a.tar",
                                "1.npy"], check=True)
                self.assertIn("sparse", records_program.fails("read", self.folder))

    def test_tarfile_reads_what_lockstep_packs(self):
        write(self.folder / "a.tar", tarfile.PAX_FORMAT)
        records_program.run("pack", self.folder, self.folder / "packed")
        names, contents = [], []
        for path in sorted((self.folder / "packed").glob("*.tar")):
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    names.append(member.name)
                    contents.append(tar.extractfile(member).read())
        expected = [(f"{i:09}.{name}", content) for i, (_, fields) in enumerate(samples()) for name, content in fields.items()]
        self.assertEqual(list(zip(names, contents)), expected)
        self.assertEqual(len(list((self.folder / "packed").iterdir())), 6)  # three shards and their indices


if __name__ == "__main__":
    unittest.main()
