# SPDX-License-Identifier: Apache-2.0
"""What a host has of what the bundle needs: LibTorch, NCCL, CUDA, the C and C++ libraries."""

import ctypes
import importlib.util
import os
import pathlib
import platform
import re
import subprocess


def newest(versions):
    """"3.4.30" of {"3.4.9", "3.4.30"}."""
    return max(versions, key=lambda version: [int(part) for part in version.split(".")], default="0")


def version_in(library, prefix):
    """The newest `prefix`x.y.z that a shared library defines or needs: GLIBCXX_, GLIBC_."""
    text = pathlib.Path(library).read_bytes()
    return newest({match.decode() for match in re.findall(re.escape(prefix).encode() + rb"(\d+(?:\.\d+)+)\0", text)})


def torch_of_this_python():
    """{"folder", "version", "cuda", "libraries"} of the torch that this Python would import; None: it has none. It is not
    imported: that takes seconds, and packages that we do not need."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return None
    folder = pathlib.Path(found.submodule_search_locations[0]).resolve()
    text = (folder / "version.py").read_text()
    facts = {name: re.search(rf"^{name}\b.*= '([^']*)'", text, re.M) for name in ("__version__", "cuda")}
    libraries = [folder / "lib", *sorted(folder.parent.glob("nvidia/*/lib"))]
    return {"folder": str(folder), "version": facts["__version__"][1],
            "cuda": facts["cuda"][1] if facts["cuda"] else "none", "libraries": [str(path) for path in libraries]}


def why_refused(torch, glibc, needs):
    """Why the bundle cannot run here, with both numbers; empty: it can."""
    if torch is None:
        return f"this python3 has no torch, and the bundle needs LibTorch {needs['torch']}: start run with one that has"
    if torch["version"].split("+")[0] != needs["torch"].split("+")[0]:
        return (f"this python3 has torch {torch['version']} ({torch['folder']}), but the bundle was built with LibTorch "
                f"{needs['torch']}: their binary interfaces differ, so start run with a python3 that has that one")
    if torch["cuda"].split(".")[0] != needs["cuda"].split(".")[0]:
        return f"this python3's torch is for CUDA {torch['cuda']} ({torch['folder']}), the bundle for CUDA {needs['cuda']}"
    if glibc != newest({glibc, needs["glibc"]}):
        return f"this host has glibc {glibc}, but the bundle needs {needs['glibc']}: build it on an older system"
    return ""


def glibc_version():
    return platform.libc_ver()[1]


def _first(paths):
    return next((path for path in paths if os.path.exists(path)), None)


def host_libstdcxx():
    """Path of the libstdc++ that programs get here by themselves; None: there is none."""
    return _first([f"{folder}/libstdc++.so.6" for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
                                                           "/lib64", "/usr/lib64", "/usr/lib")])


def choose_libstdcxx(own):
    """(the folder to load libstdc++ from, None for the host's; what to tell): the newer of the bundle's, in `own`, and the
    host's, for LibTorch and the bundle must share one."""
    theirs = host_libstdcxx()
    own_version = version_in(f"{own}/libstdc++.so.6", "GLIBCXX_")
    their_version = version_in(theirs, "GLIBCXX_") if theirs else "0"
    if theirs and their_version == newest({own_version, their_version}):
        return None, f"the host's, GLIBCXX_{their_version} (bundle: {own_version})"
    return str(own), f"the bundle's, GLIBCXX_{own_version} (host: {their_version if theirs else 'none'})"


def nccl_version(libraries):
    """"2.28.9" of the libnccl in these folders, and its path; None where there is none."""
    path = _first([f"{folder}/libnccl.so.2" for folder in libraries])
    if path is None:
        return None
    try:
        code = ctypes.c_int()
        ctypes.CDLL(path).ncclGetVersion(ctypes.byref(code))
    except OSError as error:
        return f"unusable: {error}"
    return f"{code.value // 10000}.{code.value // 100 % 100}.{code.value % 100} ({path})"


def gpus():
    """What nvidia-smi tells of the GPUs, a dictionary each, and why it tells nothing."""
    fields = ["name", "uuid", "driver_version", "memory.total", "mig.mode.current", "clocks.max.memory"]
    try:
        run = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
                             capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi: {error}"
    if run.returncode != 0:
        return [], (run.stdout + run.stderr).strip()
    rows = [line.split(", ") for line in run.stdout.splitlines() if line.strip()]
    return [dict(zip(fields, row)) for row in rows], ""

