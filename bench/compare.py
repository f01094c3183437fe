"""k-means end to end: faiss_flash and its peers, in turn, in one run.

Every peer (peers.py) gets the same points, k, seed and number of iterations. After a warm-up the
trainings alternate between the peers, and each figure is a median over --rounds. Beside every time
stand the quality and the memory:

  s/iter       seconds a Lloyd iteration: the training by its number of iterations
  vs faiss     how many times faster than the fastest faiss.Clustering of the run
  of SGEMM     time of the matrix product 2 N K d, by the system's BLAS in the same run, over s/iter
  objective    sum of squared distances to the nearest of the peer's centroids, float64, by sample
  wrong        points, in a million, whose nearest centroid the peer's own search gets wrong
  memory       rise of the resident size at its highest during a training, MiB

Peers that are not installed are listed as missing.
"""

import argparse
import ctypes
import ctypes.util
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from peers import PEERS

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(steps, **_):
        return steps


class PeerError(Exception):
    pass


class Peer:
    """A process of peers.py."""

    def __init__(self, name, python):
        self.name = (
            name if python == sys.executable else f"{name} ({pathlib.Path(python).parts[-3]})"
        )
        self.seconds, self.peak_mib = [], 0.0
        worker = pathlib.Path(__file__).with_name("peers.py")
        self._process = subprocess.Popen(
            [python, str(worker), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do, **arguments):
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "its process died"}
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["value"]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def make_points(source, n, d, seed):
    """Normal points, or the first n rows of an .npy file."""
    if source == "normal":
        return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    x = np.load(source, mmap_mode="r")
    if x.shape[0] < n or x.shape[1] != d:
        raise SystemExit(f"{source} has shape {x.shape}, --n {n} --d {d} asked for")
    return np.ascontiguousarray(x[:n], dtype=np.float32)


def sgemm_seconds(x, k):
    """The product x . x[:k]^T by the system's BLAS with its own threads, in blocks of rows."""
    blas = ctypes.CDLL(ctypes.util.find_library("openblas") or ctypes.util.find_library("blas"))
    n, d = x.shape
    block = 16384
    out = np.empty((block, k), dtype=np.float32)
    address = [ctypes.c_void_p(a.ctypes.data) for a in (x, out)]
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    ck, cd = ctypes.c_int(k), ctypes.c_int(d)
    start = time.perf_counter()
    for first in range(0, n, block):
        rows = ctypes.c_int(min(block, n - first))
        a, b = address[0], ctypes.c_void_p(x.ctypes.data + first * d * 4)
        blas.sgemm_(
            b"T", b"N", ctypes.byref(ck), ctypes.byref(rows), ctypes.byref(cd), ctypes.byref(one),
            a, ctypes.byref(cd), b, ctypes.byref(cd), ctypes.byref(zero), address[1],
            ctypes.byref(ck),
        )  # fmt: skip
    return time.perf_counter() - start


def exact_assignment(rows, centroids):
    """(ids, squared distances) in float64; ties go to the lowest id."""
    c = centroids.astype(np.float64)
    x = rows.astype(np.float64)
    ids = ((c**2).sum(1) - 2 * x @ c.T).argmin(1)
    return ids, ((x - c[ids]) ** 2).sum(1)


def quality(peer, x, sample, folder):
    centroids_path, ids_path = (str(folder / name) for name in ("centroids.npy", "ids.npy"))
    peer.ask("save", rows=sample, centroids_path=centroids_path, ids_path=ids_path)
    centroids, found = np.load(centroids_path), np.load(ids_path)
    wrong, objective, block = 0, 0.0, 8192
    for first in range(0, sample, block):
        rows = x[first : min(first + block, sample)]
        ids, distances = exact_assignment(rows, centroids)
        objective += distances.sum()
        wrong += int((found[first : first + len(rows)] != ids).sum())
    return {"objective": objective * len(x) / sample, "wrong_ppm": 1e6 * wrong / sample}


def machine():
    model = platform.processor()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":")[1].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.date.today().isoformat(),
    }


def start_peers(arguments, points_path):
    """({running peer: version}, {name: reason} of the missing)."""
    running, missing = {}, {}
    asked = [(name, sys.executable) for name in arguments.peers]
    asked += [(name, python) for python in arguments.python for name in arguments.peers]
    for name, python in asked:
        peer = Peer(name, python)
        try:
            running[peer] = peer.ask("load", path=str(points_path))
        except PeerError as error:
            missing[peer.name] = str(error)
    return running, missing


def measure(peers, x, arguments):
    """Rounds of trainings in turn; the last of the peers' centroids stay with them."""
    floor = []
    steps = [(r, peer) for r in range(arguments.rounds + 1) for peer in [None, *peers]]
    for round_number, peer in tqdm(steps, disable=None):
        if peer is None:
            floor.append(sgemm_seconds(x, arguments.k))
            continue
        answer = peer.ask("train", k=arguments.k, niter=arguments.niter, seed=arguments.seed)
        peer.peak_mib = max(peer.peak_mib, answer["peak_mib"])
        if round_number:  # the first is the warm-up
            peer.seconds.append(answer["seconds"] / arguments.niter)
    return statistics.median(floor[1:])


def report(results, floor):
    stock = [row["s_per_iter"] for row in results if row["peer"].split(" ")[0] == "faiss"]
    columns = ("s/iter", "spread", "vs faiss", "of SGEMM", "objective", "wrong ppm", "memory MiB")
    print("| peer | version | " + " | ".join(columns) + " |")
    print("|---|---|" + "---:|" * len(columns))
    for row in results:
        ratio = f"{min(stock) / row['s_per_iter']:.2f}x" if stock else "-"
        print(
            f"| {row['peer']} | {row['version']} | {row['s_per_iter']:.4f} | {row['spread']:.0%} "
            f"| {ratio} | {floor / row['s_per_iter']:.0%} | {row['objective']:.8g} "
            f"| {row['wrong_ppm']:.0f} | {row['peak_mib']:.0f} |"
        )


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", default="normal", help="'normal' or an .npy file")
    parser.add_argument("--n", type=int, default=262144)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--niter", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--rounds", type=int, default=5, help="measured trainings of each peer")
    parser.add_argument("--sample", type=int, default=65536, help="rows that quality is taken of")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument(
        "--python", nargs="+", default=[], help="other interpreters to look for the peers in"
    )
    parser.add_argument("--json", type=pathlib.Path, help="file for the figures")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    x = make_points(arguments.points, arguments.n, arguments.d, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="faiss_flash_") as name:
        folder = pathlib.Path(name)
        np.save(folder / "points.npy", x)
        peers, missing = start_peers(arguments, folder / "points.npy")
        if not peers:
            raise SystemExit(f"no peer can run: {missing}")
        floor = measure(peers, x, arguments)
        results = []
        for peer, version in peers.items():
            median = statistics.median(peer.seconds)
            row = {"peer": peer.name, "version": version, "s_per_iter": median}
            row["spread"] = (max(peer.seconds) - min(peer.seconds)) / median
            row["seconds"] = peer.seconds
            row["peak_mib"] = peer.peak_mib
            row.update(quality(peer, x, min(arguments.sample, len(x)), folder))
            results.append(row)
            peer.close()
    case = {name: getattr(arguments, name) for name in ("points", "n", "k", "d", "niter", "seed")}
    case["sgemm_s"] = floor
    gflops = 2e-9 * arguments.n * arguments.k * arguments.d / floor
    print(
        f"{machine()['cpu']}, N={arguments.n} K={arguments.k} d={arguments.d}, {arguments.points}"
    )
    print(f"SGEMM floor {floor:.4f} s ({gflops:.0f} GFLOP/s)\n")
    report(results, floor)
    for peer, reason in missing.items():
        print(f"missing: {peer}: {reason}")
    if arguments.json:
        figures = {"machine": machine(), "case": case, "results": results, "missing": missing}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
