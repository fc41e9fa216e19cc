# SPDX-License-Identifier: Apache-2.0
"""wrap_mpi.py MPI_H SOURCES OUTPUT: writes, for every MPI function that the C++ files below the folder SOURCES call, a
function of that name that asks check_mpi_thread() and goes on to the PMPI function. Prototypes are those of MPI_H."""

import pathlib
import re
import sys

header, sources, output = map(pathlib.Path, sys.argv[1:])
called = {name for path in sources.rglob("*.cpp") for name in re.findall(r"\b(MPI_[A-Z]\w+)\(", path.read_text())}
prototypes = dict(re.findall(r"\bint\s+(MPI_\w+)\s*\(([^;{]*?)\)[^;(){]*;", header.read_text()))
missing = sorted(called - prototypes.keys())
assert called and not missing, f"{header} declares none of {missing}"

lines = ["#include <mpi.h>", "", '#include "checkpoint/shim/main_thread_mpi.hpp"', "", 'extern "C" {']
for name in sorted(called):
    parameters = " ".join(prototypes[name].split())
    names = [re.search(r"(\w+)\s*(\[\d*\])*$", part.strip()).group(1) for part in parameters.split(",")]
    arguments = ", ".join([] if names == ["void"] else names)
    lines.append(f"int {name}({parameters}) {{")
    lines.append(f'  lockstep::testing::check_mpi_thread("{name}");')
    lines.append(f"  return P{name}({arguments});")
    lines.append("}")
output.write_text("\n".join([*lines, '}  // extern "C"', ""]))
