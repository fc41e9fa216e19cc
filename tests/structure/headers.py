# SPDX-License-Identifier: Apache-2.0
"""headers.py ROOT COMPILER LIBRARY_FLAGS [HEADER …]: compiles every public header but those named alone, and holds it to
its budget of preprocessed lines (as `g++ -E | wc -l` counts them), because each line is paid again in every file of every
user.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time

BUDGET = 75_000  # <chrono>, <memory>, <span> and <string_view> alone are 61,000
TENSOR_BUDGET = 250_000  # with headers of LibTorch
WITHOUT_BUDGET = {"lockstep/lockstep.hpp", "lockstep/runtime/ddp.hpp"}  # they bring torch/nn
INCLUDE_DIRS = ["*/include", "runtime/monitor/include", "base/hdf5/include"]


def compile_alone(header, compiler, flags, folder):
    """(lines, budget or None, seconds, error) of one header, named as in an #include."""
    source = pathlib.Path(folder, header.replace("/", "_") + ".cpp")
    preprocessed = source.with_suffix(".ii")
    source.write_text(f'#include "{header}"\n', encoding="utf-8")
    start = time.monotonic()
    for command in (
        [*compiler, *flags, "-E", source, "-o", preprocessed],
        [*compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", preprocessed],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            return 0, None, time.monotonic() - start, run.stderr
    text = preprocessed.read_bytes()
    preprocessed.unlink()
    if header in WITHOUT_BUDGET:
        budget = None
    else:
        with_torch = b"/ATen/" in text or b"/c10/" in text
        budget = TENSOR_BUDGET if with_torch else BUDGET
    return text.count(b"\n"), budget, time.monotonic() - start, ""


def main(root, compiler, library_flags, *left_out):
    dirs = sorted({path for pattern in INCLUDE_DIRS for path in pathlib.Path(root).glob(pattern)
                   if path.is_dir() and not path.relative_to(root).parts[0].startswith(".")})  # .venv-… have headers, too
    headers = sorted(file.relative_to(path).as_posix() for path in dirs for file in path.rglob("*.hpp"))
    headers = [header for header in headers if header not in left_out]
    flags = ["-std=c++20", *(f"-I{path}" for path in dirs), *library_flags.split(";")]
    failures = [] if headers else ["no headers were found"]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda header: compile_alone(header, compiler.split(";"), flags, folder), headers)
        print(f"{'header':<52} {'lines':>8} {'budget':>8} {'s':>5}")
        for header, (lines, budget, seconds, error) in zip(headers, results):
            print(f"{header:<52} {lines:>8} {budget or '-':>8} {seconds:>5.1f}", flush=True)
            if error:
                failures.append(f"{header} does not compile alone:\n{error}")
            elif budget is not None and lines > budget:
                failures.append(f"{header} has {lines} preprocessed lines, more than its budget of {budget}")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
