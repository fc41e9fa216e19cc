# SPDX-License-Identifier: Apache-2.0
"""remote.py [--bandwidth …]: goal D13. Reads shards from tests/support/object_server.py on the loopback, over a link with a
cap, latency, HTTP 500 and stalls, and says which part of the cap came through. Passes from 90 % on. Standard library only.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LOCKSTEP_BIN", ROOT / "build/release/bin"))
SHARD_BYTES = 64 << 20


@contextlib.contextmanager
def server(folder, options, **faults):
    """The address of a server on the files in folder/root."""
    faults |= {"latency": options.latency, "bandwidth": options.bandwidth, "seed": 1}
    command = [sys.executable, ROOT / "tests/support/object_server.py", folder / "root", folder / "log"]
    command += [word for name, value in faults.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def plain(options):
    """Bytes per second that 16 plain downloads at a time get from the same server without faults."""
    def download(url):
        with urllib.request.urlopen(url) as answer:
            while answer.readinto(bytearray(1 << 20)):
                pass

    with tempfile.TemporaryDirectory(dir=options.folder) as name, concurrent.futures.ThreadPoolExecutor(16) as pool:
        folder = pathlib.Path(name)
        make_shards(folder / "root", 16)
        with server(folder, options) as url:
            begin = time.monotonic()
            list(pool.map(download, [f"{url}/shard-{shard:05}.bin" for shard in range(16)]))
            return 16 * SHARD_BYTES / (time.monotonic() - begin)


def make_shards(root, shards):
    """One file under many names: each is a remote file of its own."""
    root.mkdir()
    (root / "shard-00000.bin").write_bytes(os.urandom(SHARD_BYTES))
    for shard in range(1, shards):
        os.link(root / "shard-00000.bin", root / f"shard-{shard:05}.bin")


def case(threads, options):
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name)
        make_shards(folder / "root", options.shards)
        with server(folder, options, error=options.error, stall=options.stall) as url:
            words = [url, folder / "root", folder / "cache", options.cache, options.timeout_ms, threads, options.shards]
            result = subprocess.run([BIN / "bench_remote", *map(str, words)], stdout=subprocess.PIPE, check=False)
        requests = sum(line.startswith("GET") for line in (folder / "log").read_text(encoding="utf-8").splitlines())
    result.check_returncode()
    return json.loads(result.stdout) | {"requests": requests}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bandwidth", type=float, default=200e6, help="bytes per second")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--error", type=float, default=0.05, help="part of the requests answered with HTTP 500")
    parser.add_argument("--stall", type=float, default=0.01, help="part of the bodies that stop half-way")
    parser.add_argument("--timeout-ms", type=int, default=1000)
    parser.add_argument("--cache", type=int, default=2 << 30, help="bytes")
    parser.add_argument("--shards", type=int, default=40, help="of 64 MiB")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--folder", help="where shards and cache go; a local disk")
    options = parser.parse_args()
    passed = True
    limit = plain(options)
    print(f"plain downloads: {limit / 1e6:.0f} MB/s, {limit / options.bandwidth:.1%} of the link")
    print("threads  MB/s  of the link  seconds  cache at most  requests")
    for threads in options.threads:
        result = case(threads, options)
        part = result["bytes_per_second"] / options.bandwidth
        passed = passed and part >= 0.9
        print(f"{threads:7} {result['bytes_per_second'] / 1e6:5.0f} {part:12.1%} {result['seconds']:8.1f}"
              f" {result['most_cached'] / options.cache:14.1%} {result['requests']:9}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
