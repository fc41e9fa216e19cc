#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights come and go, byte for byte: `lockstep ckpt export` and `import` against the real safetensors, h5py and PyTorch.

PyTorch for Python needs 3.4 GB that cmake/bootstrap leaves out: where no Python here can import it, its tests are left
out. What torch.save writes is also in golden/, for interchange_test.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import h5py
import numpy
import safetensors

BIN = pathlib.Path(os.environ["LOCKSTEP_BIN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
DAMAGED, USAGE, IO = 1, 2, 74
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
               "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
SHAPES = {"plain": [3, 5], "vector": [7], "scalar": [], "empty": [0, 4], "deep": [2, 1, 3, 2]}

# In the Python that has PyTorch. Tensors are told as {name: [dtype, shape, bytes in hexadecimal digits]}.
PROLOGUE = f"""
import json, sys, torch
sys.path += {sys.path!r}  # behind its own, for safetensors
def told(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return [str(tensor.dtype)[6:], list(tensor.shape), bytes(flat.view(torch.uint8).tolist()).hex() if flat.numel() else ""]
def made(dtype, shape, data):
    if not data:
        return torch.empty(shape, dtype=getattr(torch, dtype))
    return torch.frombuffer(bytearray.fromhex(data), dtype=getattr(torch, dtype)).reshape(shape)
"""


@functools.cache
def find_torch():
    """A Python that can import PyTorch, or None."""
    for python in (sys.executable, ROOT / ".venv/bin/python", ROOT / ".venv-peers/bin/python"):
        try:
            if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0:
                return str(python)
        except OSError:
            continue
    return None


def sample():
    """{name: (safetensors' dtype, shape, bytes)}: every dtype in every shape; all bits are as likely."""
    random = numpy.random.default_rng(7)
    tensors = {}
    for dtype, size in SIZES.items():
        for name, shape in SHAPES.items():
            data = random.integers(0, 2 if dtype == "BOOL" else 256, int(numpy.prod(shape)) * size, numpy.uint8)
            tensors[f"{name}.{dtype}"] = (dtype, shape, data.tobytes())
    return tensors


def write_safetensors(path, tensors):
    path.write_bytes(safetensors.serialize(
        {name: {"dtype": TORCH_NAMES[dtype], "shape": shape, "data": data} for name, (dtype, shape, data) in tensors.items()}))


def read_safetensors(path):
    return {name: (tensor["dtype"], tensor["shape"], bytes(tensor["data"]))
            for name, tensor in safetensors.deserialize(path.read_bytes())}


def as_torch(tensors):
    return {name: [TORCH_NAMES[dtype], shape, data.hex()] for name, (dtype, shape, data) in tensors.items()}


class Exchange(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.checkpoints = self.folder / "checkpoints"

    def tool(self, *arguments, expect=0):
        run = subprocess.run([BIN / "lockstep", "ckpt", *map(str, arguments)], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, expect, run.stdout + run.stderr)
        return run

    def import_file(self, path, **options):
        self.tool("import", path, self.checkpoints, "--step", 1, "--group", "model", **options)

    def export(self, name):
        path = self.folder / name
        self.tool("export", self.checkpoints, path, "--group", "model")
        return path

    def import_sample(self):
        tensors = sample()
        write_safetensors(self.folder / "in.safetensors", tensors)
        self.import_file(self.folder / "in.safetensors")
        return tensors

    def refused(self, path, text, expect=IO):
        error = self.tool("import", path, self.checkpoints, "--step", 1, expect=expect).stderr
        self.assertEqual(error.count("error: "), 1, error)
        self.assertIn(text, error)
        self.assertFalse(self.checkpoints.exists())


class Safetensors(Exchange):
    def test_what_it_wrote_comes_in_and_what_goes_out_it_reads(self):
        tensors = self.import_sample()
        self.assertEqual(read_safetensors(self.export("out.safetensors")), tensors)

    def test_a_checkpoint_of_it_is_read_by_h5py(self):
        tensors = self.import_sample()
        with h5py.File(self.checkpoints / "step-00000001/index.h5") as file:
            dtype, shape, data = tensors["plain.F32"]
            self.assertEqual(file["model/plain.F32"][...].tobytes(), data)

    def test_without_a_group_full_names_are_kept(self):
        self.import_sample()
        path = self.folder / "all.safetensors"
        self.tool("export", self.checkpoints, path)
        self.assertEqual(set(read_safetensors(path)), {f"model/{name}" for name in sample()})

    def test_nothing_is_overwritten(self):
        self.import_sample()
        path = self.export("out.safetensors")
        before = path.read_bytes()
        self.assertIn("it exists", self.tool("export", self.checkpoints, path, expect=USAGE).stderr)
        self.assertIn("it exists", self.tool("import", path, self.checkpoints, "--step", 1, expect=USAGE).stderr)
        self.assertEqual(path.read_bytes(), before)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([entry for entry in self.folder.iterdir() if ".tmp" in entry.name], [])

    def test_every_truncation_is_refused(self):
        write_safetensors(self.folder / "whole.safetensors", {"a": ("F32", [2], b"12345678")})
        whole = (self.folder / "whole.safetensors").read_bytes()
        path = self.folder / "cut.safetensors"
        for length in range(0, len(whole), 31):
            path.write_bytes(whole[:length])
            self.refused(path, "import ")


class Hdf5(Exchange):
    def test_what_h5py_wrote_comes_in_and_what_goes_out_it_reads(self):
        arrays = {"w": numpy.arange(12, dtype=numpy.float64).reshape(3, 4), "block/b": numpy.array([1, 2], numpy.int16),
                  "half": numpy.array([0.5], numpy.float16), "scalar": numpy.float32(2.5)}
        with h5py.File(self.folder / "in.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array
        self.import_file(self.folder / "in.h5")
        with h5py.File(self.export("out.h5")) as file:
            for name, array in arrays.items():
                self.assertEqual(file[name].dtype, array.dtype)
                numpy.testing.assert_array_equal(file[name][...], array)

    def test_every_dtype_survives_the_way_out_and_in(self):
        tensors = self.import_sample()
        out = self.export("out.h5")
        shutil.rmtree(self.checkpoints)
        self.import_file(out)
        self.assertEqual(read_safetensors(self.export("out.safetensors")), tensors)

    def refused_file(self, fill, text):
        path = self.folder / "in.h5"
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            fill(file)
        self.refused(path, text)

    def test_what_leads_elsewhere_or_needs_code_is_refused(self):
        with h5py.File(self.folder / "other.h5", "w") as other:
            other["x"] = numpy.zeros(3)
        layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3,))
        self.refused_file(lambda file: file.__setitem__("x", h5py.ExternalLink("other.h5", "x")), "soft or external link")
        self.refused_file(lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "soft or external link")
        self.refused_file(lambda file: file.create_virtual_dataset("x", layout), "not stored contiguously")
        self.refused_file(lambda file: file.create_dataset("x", data=numpy.zeros(9), compression="gzip"), "contiguously")
        self.refused_file(lambda file: file.create_dataset("x", (3,), "f8", external=[("/etc/passwd", 0, 24)]), "another file")
        self.refused_file(lambda file: file.create_dataset("x", (2**40,), "f4"), "not in the file")
        self.refused_file(lambda file: file.create_dataset("x", data="text"), "element type")


class Torch(Exchange):
    def setUp(self):
        super().setUp()
        self.python = find_torch()
        if self.python is None:
            self.skipTest("no Python here can import torch")

    def torch(self, code, *arguments, data=None):
        run = subprocess.run([self.python, "-c", PROLOGUE + code, *map(str, arguments)], input=json.dumps(data), text=True,
                             capture_output=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout) if run.stdout else None

    def save(self, code, **options):
        self.torch(f"d = json.load(sys.stdin)\ntorch.save({code}, sys.argv[1])", self.folder / "in.pt", **options)
        return self.folder / "in.pt"

    def test_torch_load_reads_what_goes_out(self):
        tensors = self.import_sample()
        out = self.export("out.pt")
        for options in ("", ", mmap=True"):
            read = self.torch("print(json.dumps({name: told(tensor) for name, tensor in "
                              f"torch.load(sys.argv[1], weights_only=True{options}).items()}}))", out)
            self.assertEqual(read, as_torch(tensors))
        with zipfile.ZipFile(out) as archive:
            self.assertIsNone(archive.testzip())

    def test_safetensors_torch_reads_what_goes_out(self):
        tensors = self.import_sample()
        read = self.torch("import safetensors.torch\nprint(json.dumps({name: told(tensor) for name, tensor in "
                          "safetensors.torch.load_file(sys.argv[1]).items()}))", self.export("out.safetensors"))
        self.assertEqual(read, as_torch(tensors))

    def test_what_torch_save_wrote_comes_in(self):
        tensors = sample()
        self.import_file(self.save("{name: made(*tensor) for name, tensor in d.items()}", data=as_torch(tensors)))
        self.assertEqual(read_safetensors(self.export("out.safetensors")), tensors)

    def test_views_parameters_and_nested_dictionaries_come_in(self):
        self.import_file(self.save(
            "{'epoch': 3, 'lr': 0.1, 'names': ['a'], 'net': {'t': torch.arange(6.).reshape(2, 3).t(), "
            "'p': torch.nn.Parameter(torch.ones(2)), 'part': torch.arange(10)[3:7:2]}, "
            "'optimizer': torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1).state_dict()}"))
        read = read_safetensors(self.export("out.safetensors"))
        self.assertEqual({name: numpy.frombuffer(data, {"F32": "f4", "I64": "i8"}[dtype]).reshape(shape).tolist()
                          for name, (dtype, shape, data) in read.items()},
                         {"net/t": [[0, 3], [1, 4], [2, 5]], "net/p": [1, 1], "net/part": [3, 5]})

    def test_code_in_a_file_is_not_run(self):
        owned = self.folder / "owned"
        path = self.save("{'a': type('Evil', (), {'__reduce__': lambda self: "
                         f"(__import__('os').system, ('touch {owned}',))}})()}}")
        self.refused(path, "it names posix.system")
        self.assertFalse(owned.exists())

    def test_every_truncation_is_refused(self):
        whole = self.save("{'a': torch.ones(3)}").read_bytes()
        for length in range(0, len(whole), 211):
            (self.folder / "cut.pt").write_bytes(whole[:length])
            self.refused(self.folder / "cut.pt", "import ")

    def test_a_net_goes_to_its_python_twin_and_back(self):
        """The net of examples/fashion_mnist."""
        net = ("torch.manual_seed(3)\nnet = torch.nn.Module()\nnet.conv1 = torch.nn.Conv2d(1, 32, 3, padding=1)\n"
               "net.conv2 = torch.nn.Conv2d(32, 64, 3, padding=1)\nnet.fc1 = torch.nn.Linear(3136, 128)\n"
               "net.fc2 = torch.nn.Linear(128, 10)\n")
        self.torch(net + "torch.save(net.state_dict(), sys.argv[1])", self.folder / "in.pt")
        self.import_file(self.folder / "in.pt")
        self.torch(net + "wanted = {k: v.clone() for k, v in net.state_dict().items()}\n"
                   "for p in net.parameters(): torch.nn.init.zeros_(p)\n"
                   "net.load_state_dict(torch.load(sys.argv[1], weights_only=True))\n"
                   "assert all(torch.equal(v, wanted[k]) for k, v in net.state_dict().items())", self.export("out.pt"))


if __name__ == "__main__":
    unittest.main()
