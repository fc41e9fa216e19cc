# SPDX-License-Identifier: Apache-2.0
"""dependencies.py ROOT: who may include whom. Fails with one line for each include that the architecture does not allow.

A new line in the tables below is a change of the architecture and needs a note in docs/decisions/.
"""

import pathlib
import re
import sys

# Module: its folders, and the modules that it may include besides itself.
MODULES = {
    "base": (["base/include", "base/src"], []),
    "hdf5": (["base/hdf5"], ["base"]),
    "monitor": (["runtime/monitor"], ["base"]),
    "comm": (["comm"], ["base"]),
    "dataloader": (["dataloader/include", "dataloader/src"], ["base", "hdf5"]),
    "data tool": (["dataloader/tool"], ["base", "dataloader", "monitor"]),
    "checkpoint": (["checkpoint/include", "checkpoint/src"], ["base", "hdf5", "comm"]),
    "checkpoint tool": (["checkpoint/tool"], ["base", "checkpoint", "monitor"]),
    "runtime": (["runtime/include", "runtime/src"], ["base", "comm", "dataloader", "checkpoint", "monitor"]),
    "launchers": (["launchers/src"], ["base", "monitor"]),
}

# What only some places may use: a pattern, what it is, and how the paths of those places begin.
NATIVE = [
    (r'#\s*include\s*[<"]mpi\.h', "MPI", ["comm/src/mpi/", "comm/include/lockstep/comm/mpi.hpp"]),
    (r'#\s*include\s*[<"]nccl\.h', "NCCL", ["comm/plugin/"]),
    (r'#\s*include\s*[<"](cuda\.h|cuda_(runtime|fp16|bf16)|driver_types|nvml|(ATen|c10|torch|torch/csrc)/cuda)', "CUDA", ["comm/plugin/"]),
    (r'#\s*include\s*[<"](hdf5|H5[A-Z]\w*)\.h', "HDF5", ["base/hdf5/"]),
    (r'#\s*include\s*[<"](torch|ATen|c10)/', "LibTorch", ["comm/", "dataloader/", "runtime/include/", "runtime/src/"]),
    (r"\b(secure_)?getenv\s*\(", "the environment", ["base/src/environment.cpp"]),
]


def violations(module, path, text):
    """Lines of `text`, the file at `path` (from the root) of `module`, that break a rule."""
    allowed = {module, *MODULES[module][1]}
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        include = re.match(r'\s*#\s*include\s*[<"]lockstep/([\w.]+)', line)
        if include:
            other = "runtime" if include[1] == "lockstep.hpp" else include[1]
            if other not in allowed:
                found.append(f"{path}:{number}: {module} must not include {other}")
        for pattern, name, places in NATIVE:
            if re.search(pattern, line) and not any(path.startswith(place) for place in places):
                found.append(f"{path}:{number}: only {', '.join(places)} may use {name}")
    return found


def check_that_this_can_fail():
    broken = [
        ("base", "base/src/x.cpp", '#include "lockstep/comm/work.hpp"'),
        ("dataloader", "dataloader/src/x.cpp", "#include <lockstep/comm/work.hpp>"),
        ("checkpoint", "checkpoint/src/x.cpp", '#include "lockstep/lockstep.hpp"'),
        ("comm", "comm/src/local/x.cpp", "#include <mpi.h>"),
        ("comm", "comm/include/lockstep/comm/work.hpp", "# include <nccl.h>"),
        ("runtime", "runtime/src/x.cpp", "#include <H5Fpublic.h>"),
        ("monitor", "runtime/monitor/src/x.cpp", "#include <ATen/core/Tensor.h>"),
        ("launchers", "launchers/src/x.cpp", '  auto home = std::getenv("HOME");'),
        ("comm", "comm/src/gpu/x.cpp", "#include <cuda_runtime.h>"),
    ]
    fine = [
        ("comm", "comm/src/mpi/x.cpp", '#include <mpi.h>\n#include "lockstep/base/error.hpp"'),
        ("base", "base/src/environment.cpp", "  return std::getenv(name);"),
        ("comm", "comm/plugin/x.cpp", '#include <c10/cuda/CUDAStream.h>\n#include "gpu/cuda_api.hpp"'),
        ("comm", "comm/src/gpu/x.cpp", '#include "cuda_api.hpp"\n#include "nccl_api.hpp"'),
        ("runtime", "runtime/src/x.cpp", "#include <cstdint>\n#include <torch/nn.h>"),
    ]
    assert all(len(violations(*case)) == 1 for case in broken), [c for c in broken if len(violations(*c)) != 1]
    assert not any(violations(*case) for case in fine), [violations(*c) for c in fine]


def main(root):
    check_that_this_can_fail()
    found = []
    files = 0
    for module, (folders, _) in MODULES.items():
        for folder in folders:
            for file in sorted((root / folder).rglob("*")):
                path = file.relative_to(root).as_posix()
                if file.suffix not in {".hpp", ".cpp", ".h", ".cu", ".in"}:
                    continue
                files += 1
                found += violations(module, path, file.read_text(encoding="utf-8"))
    print("\n".join(found + [f"{files} files, {len(found)} violations"]))
    return 1 if found or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
