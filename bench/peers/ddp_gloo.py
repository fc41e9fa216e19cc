# SPDX-License-Identifier: Apache-2.0
"""The net, data and loop of examples/fashion_mnist in Python: DistributedDataParallel over Gloo on the CPU.

Started once a rank with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT (as torchrun does). Prints, on rank 0, one JSON object
with the samples a second of all ranks together over the steps after the warm-up. The data is in memory as float32, so
that nothing but the training step is timed.
"""

import argparse
import gzip
import json
import os
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(3136, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


def read_idx(path, header):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64, help="samples of a step on one rank")
    options = parser.parse_args()

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo")
    images = torch.from_numpy(read_idx(f"{options.source}/train-images-idx3-ubyte.gz", 16).copy())
    images = images.reshape(-1, 1, 28, 28).float() / 255.0
    labels = torch.from_numpy(read_idx(f"{options.source}/train-labels-idx1-ubyte.gz", 8).copy()).long()
    order = torch.randperm(len(labels))[rank::world_size]

    net = Net()
    model = nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(options.steps):
        if step == options.warmup:
            dist.barrier()
            began = time.perf_counter()
        take = order[(torch.arange(options.batch) + step * options.batch) % len(order)]
        sgd.zero_grad()
        loss = F.cross_entropy(model(images[take]), labels[take])
        loss.backward()
        sgd.step()
    dist.barrier()
    seconds = time.perf_counter() - began
    if rank == 0:
        samples = (options.steps - options.warmup) * options.batch * world_size
        print(json.dumps({"samples_per_second": samples / seconds, "loss": loss.item()}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
