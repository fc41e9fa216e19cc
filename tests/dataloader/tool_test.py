#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lockstep data` as a user runs it: what it tells, what it writes, and that bad input costs one clear error and nothing
else."""

import io
import json
import os
import pathlib
import pty
import shutil
import signal
import struct
import subprocess
import tarfile
import tempfile
import time
import unittest
import zlib

import h5py
import numpy

BIN = pathlib.Path(os.environ["LOCKSTEP_BIN"])
DAMAGED, USAGE = 1, 2


def png(height, width, grey):
    """A grey picture."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([grey]) * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def npy(array):
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


def write_tar(path, samples):
    """samples: [{extension: bytes}]"""
    with tarfile.open(path, "w") as tar:
        for number, fields in enumerate(samples):
            for extension, data in fields.items():
                member = tarfile.TarInfo(f"{number:06}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def labelled(count):
    return [{"png": png(4, 6, i % 256), "cls": b"%d" % (i % 3)} for i in range(count)]


def listing(folder):
    """{path: content} of all files below."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / "data"
        self.data.mkdir()
        self.output = self.folder / "packed"

    def run_tool(self, *arguments, expect=0):
        run = subprocess.run([BIN / "lockstep", "data", *map(str, arguments)], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, expect, run.stdout + run.stderr)
        return run

    def refused(self, *arguments, texts, command=None):
        """One error with what to do about it; no file is changed."""
        before = listing(self.folder)
        error = self.run_tool(*arguments, expect=USAGE).stderr
        self.assertEqual(error.count("error: "), 1, error)
        for text in (*texts, "Fix: "):
            self.assertIn(text, error)
        self.assertEqual(listing(self.folder), before)

    def inspected(self, *arguments):
        return json.loads(self.run_tool("inspect", "--json", *arguments).stdout)


class Inspect(Tool):
    def test_tells_format_counts_fields_and_the_first_sample(self):
        pose = npy(numpy.arange(12, dtype=numpy.float32).reshape(3, 4))
        write_tar(self.data / "a.tar", [{"npy": pose, "cls": b"7", "json": b'{"speed": 3}'}] * 5)
        write_tar(self.data / "b.tar", [{"npy": pose, "cls": b"8", "json": b"{}"}] * 3)
        found = self.inspected(self.data)
        self.assertEqual((found["format"], found["samples"], found["shards"]), ("tar", 8, [5, 3]))
        self.assertFalse(found["checksummed"])
        self.assertEqual(found["bytes"], sum(path.stat().st_size for path in self.data.iterdir()))
        fields = {field["name"]: field for field in found["fields"]}
        self.assertEqual((fields["npy"]["dtype"], fields["npy"]["shape"]), ("float32", [3, 4]))
        self.assertTrue(fields["npy"]["value"].startswith("0 1 2 3"), fields["npy"])
        self.assertEqual(fields["cls"]["value"], "7")
        self.assertEqual(fields["json"]["value"], '{"speed": 3}')

    def test_of_one_file_of_a_folder(self):
        write_tar(self.data / "a.tar", labelled(5))
        write_tar(self.data / "b.tar", labelled(3))
        self.assertEqual(self.inspected(self.data / "b.tar")["samples"], 3)

    def test_prints_a_table_for_people(self):
        write_tar(self.data / "a.tar", labelled(1234))
        text = self.run_tool("inspect", self.data).stdout
        for expected in ("format tar", "1,234", "checksums    no", "png", "cls"):
            self.assertIn(expected, text)

    def test_refuses_what_is_not_there_or_no_data_set(self):
        self.refused("inspect", self.folder / "nowhere", texts=["nowhere", "no such folder"])
        self.refused("inspect", self.data, texts=[str(self.data)])
        self.refused("inspect", self.data, "--format", "tarr", texts=["tarr", "formats are"])

    def test_refuses_a_file_that_is_no_tar(self):
        (self.data / "a.tar").write_bytes(b"no tar" * 1000)
        self.refused("inspect", self.data, texts=["a.tar"])

    def test_wrong_command_lines_are_usage_errors(self):
        for arguments in (["inspect"], ["nothing"], ["inspect", self.data, "--nothing"], []):
            self.run_tool(*arguments, expect=USAGE)


class Verify(Tool):
    def test_a_changed_byte_of_a_packed_data_set_is_named(self):
        write_tar(self.data / "a.tar", labelled(20))
        self.run_tool("pack", self.data, self.output)
        self.assertIn("0 damaged", self.run_tool("verify", self.output).stdout)
        shard = next(self.output.glob("*.tar"))
        with tarfile.open(shard) as tar:
            member = [member for member in tar if member.name.endswith("png")][17]
        content = bytearray(shard.read_bytes())
        content[member.offset_data + 30] ^= 1
        shard.write_bytes(content)
        found = json.loads(self.run_tool("verify", "--json", self.output, expect=DAMAGED).stdout)
        self.assertEqual((found["samples"], found["damaged"], found["checksummed"]), (20, 1, True))
        self.assertEqual(found["first"][0]["sample"], 17)
        self.assertIn("damaged: sample 17", self.run_tool("verify", self.output, expect=DAMAGED).stdout)

    def test_shows_a_bar_on_a_terminal(self):
        write_tar(self.data / "a.tar", labelled(3))
        ours, theirs = pty.openpty()
        subprocess.run([BIN / "lockstep-data", "verify", self.data], stdout=subprocess.DEVNULL, stderr=theirs, check=True)
        os.close(theirs)
        self.assertIn(b"verify  sample 3/3  100%", os.read(ours, 4096))
        os.close(ours)


class Pack(Tool):
    def fields_of(self, folder):
        with_name = {}
        for shard in sorted(folder.glob("*.tar")):
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, extension = member.name.split(".", 1)
                    with_name.setdefault(extension, []).append(tar.extractfile(member).read())
        return with_name

    def test_tar_to_tar_keeps_the_bytes_and_cuts_shards(self):
        samples = labelled(100)
        write_tar(self.data / "a.tar", samples)
        self.run_tool("pack", self.data, self.output, "--shard-bytes", "50kB")
        self.assertGreater(len(list(self.output.glob("*.tar"))), 1)
        self.assertEqual(self.fields_of(self.output),
                         {name: [sample[name] for sample in samples] for name in ("png", "cls")})

    def test_compressed_samples_are_read_again(self):
        for compression in ("zstd", "lz4"):
            with self.subTest(compression):
                array = numpy.zeros(5000, numpy.int32)
                write_tar(self.data / "a.tar", [{"npy": npy(array)}] * 10)
                output = self.folder / compression
                self.run_tool("pack", self.data, output, "--compress", compression)
                self.assertLess(sum(path.stat().st_size for path in output.iterdir()), 100_000)
                self.run_tool("verify", output)
                self.assertEqual(self.inspected(output)["fields"][0]["shape"], [5000])

    def test_to_hdf5_is_read_by_h5py(self):
        array = numpy.arange(60, dtype=numpy.float32).reshape(10, 2, 3)
        with h5py.File(self.data / "a.h5", "w") as file:
            file["x"] = array
        self.run_tool("pack", self.data, self.output, "--to", "hdf5")
        with h5py.File(next(self.output.glob("*.h5"))) as file:
            self.assertTrue((file["x"][:] == array).all())
        self.run_tool("verify", self.output)

    def test_refuses_to_overwrite(self):
        write_tar(self.data / "a.tar", labelled(3))
        self.output.mkdir()
        (self.output / "precious").write_text("mine")
        self.refused("pack", self.data, self.output, texts=["packed", "exists"])
        self.refused("pack", self.data, self.output, "--to", "hdf5", texts=["pack"])

    def test_refuses_what_cannot_be_stored(self):
        write_tar(self.data / "a.tar", labelled(3))
        self.refused("pack", self.data, self.output, "--to", "hdf5", texts=["png"])
        self.refused("pack", self.data, self.output, "--to", "hdf5", "--compress", "zstd", texts=["not compressed"])
        for option in (["--to", "zip"], ["--compress", "gzip"], ["--shard-bytes", "many"]):
            self.run_tool("pack", self.data, self.output, *option, expect=USAGE)
        self.assertFalse(self.output.exists())

    def test_a_killed_one_leaves_nothing_under_the_final_name(self):
        write_tar(self.data / "a.tar", [{"bin": bytes(1000)}] * 30_000)
        process = subprocess.Popen([BIN / "lockstep-data", "pack", self.data, self.output])
        deadline = time.monotonic() + 30
        while not any(self.folder.glob("packed.tmp-*")) and time.monotonic() < deadline:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        self.assertEqual(process.wait(), -signal.SIGKILL, "it ended before it was killed")
        self.assertFalse(self.output.exists())
        self.run_tool("pack", self.data, self.output)  # what is left does not stand in the way
        self.run_tool("verify", self.output)


class Plot(Tool):
    def test_shows_pictures_labels_and_sources_in_one_file(self):
        write_tar(self.data / "a.tar", labelled(9))
        write_tar(self.data / "b.tar", labelled(2))
        html = self.folder / "data.html"
        self.run_tool("plot", self.data / "a.tar", self.data / "b.tar", "--output", html)
        text = html.read_text()
        self.assertEqual(text.count("data:image/png;base64,"), 11)
        self.assertIn("<h3>cls</h3>", text)
        self.assertIn("a.tar", text)
        self.assertNotIn("http", text)

    def test_shows_values_where_there_are_no_pictures(self):
        write_tar(self.data / "a.tar", [{"txt": b"5 < 6 & more"}])
        html = self.folder / "data.html"
        self.run_tool("plot", self.data, "--output", html)
        self.assertIn("5 &lt; 6 &amp; more", html.read_text())

    def test_refuses_to_overwrite(self):
        write_tar(self.data / "a.tar", labelled(2))
        html = self.folder / "data.html"
        html.write_text("mine")
        self.refused("plot", self.data, "--output", html, texts=["data.html", "exists"])


class Bench(Tool):
    def test_tells_the_rate_of_each_stage(self):
        write_tar(self.data / "a.tar", [{"npy": npy(numpy.zeros(100, numpy.float32))}] * 50)
        text = self.run_tool("bench", self.data, "--threads", "2", "--batch", "8").stdout
        for stage in ("found and checked", "and decoded", "and in batches"):
            self.assertRegex(text, stage + r" +[1-9][\d,]* +[\d.]+ [kMG]?B/s")


class Launcher(Tool):
    def test_says_when_the_program_beside_it_is_missing(self):
        shutil.copy(BIN / "lockstep", self.folder)
        run = subprocess.run([self.folder / "lockstep", "data", "inspect", self.data], capture_output=True, text=True)
        self.assertEqual(run.returncode, USAGE)
        self.assertIn(f"there is no {self.folder}/lockstep-data", run.stderr)


if __name__ == "__main__":
    unittest.main()
