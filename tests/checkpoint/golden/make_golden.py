#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Wrote net.pt (PyTorch 2.11.0) and net.safetensors (safetensors 0.6.2) beside this file: what interchange_test expects."""

import pathlib

import safetensors.torch
import torch

here = pathlib.Path(__file__).resolve().parent
net = torch.nn.Module()
net.fc = torch.nn.Linear(3, 2)
with torch.no_grad():
    net.fc.weight.copy_(torch.arange(6.0).reshape(2, 3))
    net.fc.bias.copy_(torch.tensor([-1.0, 0.5]))
state = net.state_dict()
torch.save({"epoch": 3, "net": {**state, "half": state["fc.bias"].bfloat16(), "turned": state["fc.weight"].t()}}, here / "net.pt")
safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, here / "net.safetensors")
