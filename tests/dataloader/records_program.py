# SPDX-License-Identifier: Apache-2.0
"""Runs records_program, which reads and writes as lockstep does."""

import json
import os
import re
import subprocess


def command(*arguments):
    return [f"{os.environ['LOCKSTEP_BIN']}/records_program", *arguments]


def run(*arguments):
    return subprocess.run(command(*arguments), check=True, stdout=subprocess.PIPE).stdout


def fails(*arguments):
    """Its message."""
    result = subprocess.run(command(*arguments), capture_output=True)
    assert result.returncode == 1, result
    return result.stderr.decode()


def read(folder):
    """[(key, {field: bytes})] of a folder of tar files."""
    samples = []
    for line in run("read", folder).decode().splitlines():
        sample = json.loads(line)
        key = re.search(r" \(key (.*)\)$", sample["describe"])
        samples.append((key.group(1) if key else "?", {name: bytes.fromhex(digits) for name, digits in sample["fields"].items()}))
    return samples
