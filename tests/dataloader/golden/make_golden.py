#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the folders beside it again: data sets as other people's tools write them, and what is in them.

python3 -m pip install 'mosaicml-streaming==0.13.0' h5py numpy pillow; python3 make_golden.py
"""
import io
import json
import pathlib
import shutil

import h5py
import numpy as np
from PIL import Image
from streaming import MDSWriter
from streaming.base.format.mds.encodings import mds_encode

HERE = pathlib.Path(__file__).parent
SAMPLES = 6
COLUMNS = {
    "blob": "bytes", "text": "str", "id": "int", "label": "int32", "token": "uint16", "half": "float16",
    "image": "jpeg", "mask": "png", "meta": "json", "pose": "ndarray:float32:2,3", "ids": "ndarray:uint32:4",
    "points": "ndarray:float32", "any": "ndarray",
}


def sample(i: int) -> dict:
    random = np.random.default_rng(i)
    jpeg = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(jpeg, "JPEG", quality=50)
    return {
        "blob": bytes(range(i)), "text": f"sample {i} – é", "id": i - 3, "label": -i, "token": 65535 - i, "half": i / 4,
        "image": Image.open(jpeg), "mask": Image.fromarray(random.integers(0, 255, (4, 4), np.uint8)),
        "meta": {"speed": i / 2}, "pose": random.random((2, 3), np.float32), "ids": np.arange(4, dtype=np.uint32) + i,
        "points": random.random((i + 1, 4), np.float32),
        "any": random.random((2, i + 1)) if i % 2 else np.full((300, 1), i, np.int8),
    }


def expected(name: str, value) -> dict:
    """The bytes of a value; of arrays also what a npy header says of them."""
    encoding = COLUMNS[name]
    if encoding == "uint16":
        value = np.uint16(value)
    if encoding.startswith("ndarray") or encoding == "uint16":
        return {"hex": value.tobytes().hex(), "descr": value.dtype.str, "shape": list(value.shape)}
    return {"hex": mds_encode(encoding, value).hex()}


def write_mds(folder: str, **options) -> None:
    shutil.rmtree(HERE / folder, ignore_errors=True)
    with MDSWriter(out=str(HERE / folder), columns=COLUMNS, size_limit=4500, **options) as writer:
        for i in range(SAMPLES):
            writer.write(sample(i))


def write_hdf5() -> None:
    shutil.rmtree(HERE / "hdf5", ignore_errors=True)
    (HERE / "hdf5").mkdir()
    x = np.arange(10 * 3, dtype=np.float32).reshape(10, 3)
    y = np.arange(10, dtype=np.int64)
    with h5py.File(HERE / "hdf5/contiguous.h5", "w", libver="v108") as file:
        file["x"], file["y"] = x, y
    with h5py.File(HERE / "hdf5/chunked.h5", "w", libver="v108") as file:
        file.create_dataset("x", data=x, chunks=(4, 3), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("y", data=y)
        file.create_dataset("big_endian", data=x.astype(">f4"))
        file.create_dataset("token", data=(65535 - y).astype(np.uint16))
        file.create_dataset("group/nested", data=y)
    with h5py.File(HERE / "hdf5/odd.h5", "w", libver="v108") as file:
        file["x"], file["short"], file["name"], file["one"] = x, y[:4], "text", 1.5
        file["linked"] = h5py.SoftLink("/x")


write_mds("mds", hashes=["sha1", "xxh64"])
write_mds("mds_zstd", hashes=["sha256"], compression="zstd:7")
write_hdf5()
content = [{name: expected(name, value) for name, value in sample(i).items()} for i in range(SAMPLES)]
(HERE / "mds.json").write_text(json.dumps(content, indent=0, sort_keys=True) + "\n")
