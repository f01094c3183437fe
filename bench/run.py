"""faiss_flash and its peers, side by side: runs named suites of cases (suites.py).

    bench/run.py kernel iteration --out build/results

Every peer that is installed (peers.py, ivf_peers.py) has a process of its own and gets the same
points, first centroids (whole calls: its own if it can) and number of iterations. After a
first run of each, which is not counted, the peers take turns; figures are medians of the rounds.
Quality in float64 stands beside every time. The machine's own ceilings are measured in the same
run. Peers that are not installed are listed as missing, one that fails has its message in the
table, and Ctrl-C or --seconds leave what was measured.

Writes results.json after every case, results.md and plots (report.py) at the end.

--points takes folders of real vectors, float32 as np.save writes them: base.npy (n, d), and for
index builds train.npy and query.npy too. Each case over a mixture is run over each of them, in its
place, of whole calls (suite call) after it; a case takes the first N rows, all where there are
fewer. Tables name the folder: call it sift or minilm. contrib/make_descriptors.py makes one of SIFT
descriptors; of embeddings it is np.save("base.npy", model.encode(sentences)), rows shuffled.

Stock FAISS on a CPU is at its best from PyPI (faiss-cpu, whose wheel has AVX2 and on newer CPUs
AVX-512); Debian's is a generic build. The version in the table says which one was measured, and
--python looks for peers in further environments.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import report
from memory import DeviceMemory, PeakMemory, resident_mib
from peer import FIT_KINDS
from suites import SUITES, Case
from worker import ALL_PEERS, PeerError, PeerProcess

try:
    from tqdm import tqdm
except ImportError:

    class tqdm:  # noqa: N801
        def __init__(self, **_):
            pass

        def set_postfix_str(self, _):
            pass

        def update(self):
            pass


STEP_SECONDS = 300
GRACE_SECONDS = 60  # that a case started in time has to its end
ONE_ROUND_KINDS = ("ivfflat", "ivfpq", "io", "memory", "latency")


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


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        cases = [case for suite in arguments.suites for case in suite()]
        self.cases = with_points(cases, arguments.points)
        self.start = time.monotonic()
        self.results = {
            "machine": machine(),
            "ceilings": {},
            "missing": {},
            "rows": [],
            "not_run": [],
            "seconds": 0,
        }
        self.peers = []
        self.pool = ThreadPoolExecutor(len(ALL_PEERS) * (1 + len(arguments.python)))

    def left(self):
        return self.arguments.seconds - (time.monotonic() - self.start)

    def start_peers(self):
        """Those that some case needs and that are installed; the others are noted as missing."""
        ceilings = PeerProcess("ceilings")
        try:
            ceilings.prepare(Case("", "all", 0, 0), 120)
            self.results["ceilings"] = ceilings.ask("measure")
        except PeerError as error:
            self.results["missing"]["ceilings"] = str(error)
        ceilings.kill()
        for python in [sys.executable, *self.arguments.python]:
            for name in self.arguments.peers:
                if any(ALL_PEERS[name]().takes(case) for case in self.cases):
                    label = name if python == sys.executable else f"{name} [{python}]"
                    self.add_peer(PeerProcess(name, python), label)
                    for kernels in self.arguments.blas if ALL_PEERS[name].own_blas else ():
                        environment = {"OPENBLAS_CORETYPE": kernels}
                        self.add_peer(
                            PeerProcess(name, python, environment), f"{label}, {kernels} BLAS"
                        )
        reasons = list(self.pool.map(self.missing, self.peers))
        for peer, reason in zip(self.peers, reasons):
            if reason:
                self.results["missing"][peer.label] = reason
                peer.kill()
        self.peers = [peer for peer, reason in zip(self.peers, reasons) if not reason]

    def add_peer(self, peer, label):
        peer.label = label
        self.peers.append(peer)

    @staticmethod
    def missing(peer):
        """Why it is not there, or None."""
        try:
            peer.version = peer.ask("version")
        except PeerError as error:
            return str(error)
        return None

    def run_all(self):
        bar = tqdm(total=len(self.cases), unit="case", disable=None)
        self.save()
        for case in self.cases:
            if self.left() <= 0:
                self.results["not_run"].append(f"{case.suite}: {case.kind} {case.shape}")
                continue
            bar.set_postfix_str(f"{case.suite}: {case.kind} {case.shape}")
            self.run_case(case)
            bar.update()
            self.save()

    def run_case(self, case):
        """Rows of one case, errors among them; peers keep nothing of it afterwards."""
        peers = [peer for peer in self.peers if ALL_PEERS[peer.name]().takes(case)]
        rows = {}
        for peer in peers:
            rows[peer] = {**dataclasses.asdict(case), "peer": peer.label, "version": peer.version}
            rows[peer]["ms"] = []
        self.results["rows"] += rows.values()
        if case.kind == "memory":  # nothing kept of earlier cases
            for peer in peers:
                peer.kill()
        # What is not timed is done side by side.
        ready = self.pool.map(lambda p: self.attempt(p, rows[p], self.prepare, case), peers)
        peers = [peer for peer, is_ready in zip(peers, list(ready)) if is_ready]
        one_round = case.kind in ONE_ROUND_KINDS or case.suite == "sweep"
        for number in range(1 if one_round else self.arguments.rounds):
            for peer in list(peers):
                if number and rows[peer]["timed_s"] > self.arguments.case_seconds:
                    continue
                if not self.attempt(peer, rows[peer], self.measure, case):
                    peers.remove(peer)
        list(self.pool.map(lambda p: self.attempt(p, rows[p], self.finish, case), peers))

    def prepare(self, peer, case, _row):
        peer.prepare(case, self.limit())

    def finish(self, peer, case, row):
        if case.kind in FIT_KINDS and case.kind != "memory":
            row.update(peer.ask("quality", self.limit()))
        peer.ask("release")

    def limit(self):
        """Seconds that a step of a peer may take."""
        return min(STEP_SECONDS, max(0, self.left()) + GRACE_SECONDS)

    @staticmethod
    def attempt(peer, row, step, case):
        """False, with the reason in the row and the peer's process gone, where the step fails."""
        try:
            step(peer, case, row)
        except PeerError as error:
            row["error"] = str(error)
            peer.kill()
            return False
        return True

    def measure(self, peer, case, row):
        start = time.monotonic()
        if case.kind != "memory":
            figures = peer.ask("measure", self.limit())
        else:
            try:
                read = DeviceMemory()
            except OSError:
                read = lambda: resident_mib(peer.pid)  # noqa: E731
            with PeakMemory(read) as peak:
                figures = peer.ask("measure", self.limit())
            row["peak_mib"] = peak.mib
        ms = figures.pop("ms", [])
        row["ms"] += ms if isinstance(ms, list) else [ms]
        row.update(figures)
        row["timed_s"] = row.get("timed_s", 0) + time.monotonic() - start

    def save(self):
        self.results["seconds"] = time.monotonic() - self.start
        path = self.arguments.out / "results.json"
        path.write_text(json.dumps(self.results, indent=1) + "\n")

    def interrupted(self):
        """Rows of the case under way that have no figures yet are no failures: they go."""
        self.results["rows"] = [
            dict(row) for row in self.results["rows"] if "timed_s" in row or "error" in row
        ]
        self.results["not_run"].append("interrupted: what follows the last row")

    def close(self):
        for peer in self.peers:
            peer.kill()
        self.pool.shutdown()


def with_points(cases, folders):
    """The cases over mixtures over folders' {train,base,query}.npy too (whole calls) or instead,
    each once; index builds over other points go, and folders without train.npy have none."""
    if not folders:
        return cases
    shapes = {folder: np.load(folder / "base.npy", mmap_mode="r").shape for folder in folders}

    def over(folder, case):
        n, d = shapes[folder]
        if case.suite == "build":
            return dataclasses.replace(case, n=n, d=d, data=str(folder))
        return dataclasses.replace(case, n=min(case.n, n), d=d, data=str(folder / "base.npy"))

    found = []
    for case in cases:
        if case.suite == "call" or (case.data != "mixture" and case.suite != "build"):
            found.append(case)
        if case.data == "mixture":
            found += [
                over(folder, case)
                for folder in folders
                if case.suite != "build" or (folder / "train.npy").exists()
            ]
    return list(dict.fromkeys(found))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="+", choices=[*SUITES, "all"])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the results")
    parser.add_argument("--rounds", type=int, default=3, help="of measurements of each peer")
    parser.add_argument("--seconds", type=float, default=3600, help="no case starts after these")
    parser.add_argument(
        "--case-seconds", type=float, default=20, help="a peer's next round starts within these"
    )
    parser.add_argument("--peers", nargs="+", default=list(ALL_PEERS), choices=list(ALL_PEERS))
    parser.add_argument(
        "--points",
        type=pathlib.Path,
        nargs="+",
        default=[],
        help="folders with {train,base,query}.npy in the place of mixtures",
    )
    parser.add_argument(
        "--python", nargs="+", default=[], help="other interpreters to look for the peers in"
    )
    parser.add_argument(
        "--blas",
        nargs="+",
        default=[],
        help="kernels (SkylakeX, ...) for peers with an OpenBLAS inside, beside those it chooses",
    )
    arguments = parser.parse_args()
    names = list(SUITES) if "all" in arguments.suites else arguments.suites
    arguments.suites = [SUITES[name] for name in names]
    arguments.peers = [name for name in arguments.peers if name != "ceilings"]
    return arguments


def main():
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = Run(arguments)
    try:
        run.start_peers()
        if not run.peers:
            raise SystemExit(f"no peer can run: {run.results['missing']}")
        run.run_all()
    except KeyboardInterrupt:
        run.interrupted()
    finally:
        run.close()
    run.save()
    report.write(run.results, arguments.out)
    print((arguments.out / "results.md").read_text())


if __name__ == "__main__":
    main()
