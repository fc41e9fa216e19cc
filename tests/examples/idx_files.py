# SPDX-License-Identifier: Apache-2.0
"""Small IDX files in the place of Fashion-MNIST: each image is a bright bar, and where it is tells the class."""

import random
import struct

SIDE = 28


def image(label, noise):
    pixels = bytearray(noise.randrange(64) for _ in range(SIDE * SIDE))
    for row in range(2 * label + 2, 2 * label + 6):
        for column in range(4, 24):
            pixels[row * SIDE + column] = 192 + noise.randrange(64)
    return bytes(pixels)


def write(folder, train=600, test=130):
    """Neither number divides by the micro-batches or the batch of the tests, so that short batches are among them."""
    folder.mkdir()
    noise = random.Random(7)
    for prefix, samples in [("train", train), ("t10k", test)]:
        labels = bytes(noise.randrange(10) for _ in range(samples))
        images = b"".join(image(label, noise) for label in labels)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, samples, SIDE, SIDE) + images)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, samples) + labels)
    return folder
