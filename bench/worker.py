"""The process that a peer of run.py runs in, and the parent's end of it.

Every peer has a process, and possibly a Python, of its own: no two libraries share threads or
memory, and a crash is one peer's. Requests and answers are lines of JSON.
"""

import dataclasses
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

import ceilings
import points
from ivf_peers import IVF_PEERS
from peer import FIT_KINDS
from peers import PEERS
from suites import Case

ALL_PEERS = {**PEERS, **IVF_PEERS, "ceilings": ceilings.Ceilings}

FEW = 1  # iterations whose time is taken off that of more
QUALITY_NITER = 2  # after which the quality is looked at
MOST = 100
ITERATION_SECONDS = 0.4  # that the difference should take
SHORT = 0.05  # seconds: runs under it are repeated
SCORES = 1 << 26  # of float64 that the quality of one peer may cost
CALLS = 100  # of a latency
CALL_SECONDS = 0.4  # of whole calls in a round, at least one
MOST_CALLS = 20
LONG_CALL = 3.0  # seconds from which a whole call is not made for nothing
LATENCY_NITER = 10


class PeerError(Exception):
    """What a peer raised, or how its process ended."""


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Worker:
    """What the process does; every method answers one request."""

    def __init__(self, name):
        self.peer = ALL_PEERS[name]()
        self.case = None

    def version(self):
        return self.peer.version()

    def prepare(self, case):
        """Points and a first run, which starts and compiles whatever must be."""
        self.case = Case(**case)
        self.settled = False
        if self.case.kind == "memory":  # what libraries take once is no part of it
            self.peer.prepare(dataclasses.replace(self.case, n=4096, k=16))
            self.peer.fit(16, FEW)
            self.peer.release()
            self.peer.prepare(self.case)
        elif self.case.kind in FIT_KINDS:
            self.peer.prepare(self.case)
            self.peer.fit(self.case.k, FEW)

    def measure(self):
        """One round's figures."""
        kind = self.case.kind
        if kind in FIT_KINDS:
            return getattr(self, f"_{kind}")()
        found = getattr(self.peer, kind)(self.case)
        return found if isinstance(found, dict) else {"ms": found}

    def _iteration(self):
        """Of as many iterations as take ITERATION_SECONDS: beside them the noise of what comes
        before them, reading the points above all, is small."""
        few = self._fit_seconds(FEW)
        more = 2
        many = self._fit_seconds(FEW + more)
        wanted = int(ITERATION_SECONDS * more / max(many - few, 1e-6))
        if wanted > more:
            more = min(wanted, MOST)
            many = self._fit_seconds(FEW + more)
        if many <= few:
            raise RuntimeError(f"{more} iterations more took no longer: {few:.2g} s, {many:.2g} s")
        return {"ms": (many - few) / more * 1e3, "iterations": more}

    def _fit_seconds(self, niter):
        """Of short runs the median of some."""
        first = _seconds(lambda: self.peer.fit(self.case.k, niter))
        rest = (
            [_seconds(lambda: self.peer.fit(self.case.k, niter)) for _ in range(4)]
            if first < SHORT
            else []
        )
        return statistics.median([first, *rest])

    def _call(self):
        """Whole calls, after the case's first round has settled everything."""
        if not self.settled:
            self._settle()
            self.settled = True
        calls = []
        while not calls or (sum(calls) < CALL_SECONDS and len(calls) < MOST_CALLS):
            calls.append(_seconds(lambda: self.peer.fit(self.case.k, self.case.niter)))
        return {"ms": [1e3 * seconds for seconds in calls]}

    def _settle(self):
        """What is not counted, with the card for itself: prepare() ran beside other peers, and some
        time their kernels then. Calls that take seconds are no faster for having been made once."""
        self.peer.fit(self.case.k, FEW)
        few = _seconds(lambda: self.peer.fit(self.case.k, FEW))
        if few * self.case.niter < LONG_CALL:
            self.peer.fit(self.case.k, self.case.niter)

    def _train(self):
        return {"ms": 1e3 * _seconds(lambda: self.peer.fit(self.case.k, self.case.niter))}

    def _latency(self):
        calls = [_seconds(lambda: self.peer.fit(self.case.k, LATENCY_NITER)) for _ in range(CALLS)]
        calls.sort()
        return {"ms": 1e3 * statistics.median(calls), "p99_ms": 1e3 * calls[int(0.99 * CALLS)]}

    def _memory(self):
        """The parent watches the card's memory meanwhile."""
        return {"ms": 1e3 * _seconds(lambda: self.peer.fit(self.case.k, self.case.niter))}

    def quality(self):
        """Objective and share of points assigned wrongly, in float64, after the same iterations: of
        a whole call those of the last one."""
        if self.case.kind != "call":
            niter = self.case.niter if self.case.kind == "train" else QUALITY_NITER
            self.peer.fit(self.case.k, niter)
        centroids = self.peer.centroids()
        count = self.case.n
        if self.case.suite != "quality":
            count = min(count, max(1024, min(65536, SCORES // self.case.k)))
        ids, distances = points.nearest_in_float64(self.peer.rows(count), centroids)
        figures = {"objective": float(distances.sum()) * self.case.n / count}
        found = self.peer.assign_rows(count)
        if found is not None:
            figures["wrong_ppm"] = 1e6 * float((found != ids).mean())
        return figures

    def release(self):
        self.case = None
        self.peer.release()


class PeerProcess:
    """The parent's end."""

    def __init__(self, name, python=sys.executable, environment=None):
        self.name, self.python = name, python
        self.environment = environment or {}
        self._process = None

    def ask(self, do, limit=120, **arguments):
        """The answer; PeerError where it raises, dies, or takes longer than `limit` seconds."""
        if self._process is None:
            self._start()
        process = self._process
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer tells
        ready, _, _ = select.select([process.stdout], [], [], limit)
        line = process.stdout.readline() if ready else ""
        if not line:
            if not ready:
                self.kill()
                raise PeerError(f"took over {limit:.0f} s")
            code = process.wait()
            raise PeerError(f"its process ended ({code}): {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["value"]

    def _start(self):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [self.python, __file__, self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is the parent's
            )
        except OSError as error:
            raise PeerError(str(error)) from error

    def _last_words(self):
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-300:].strip()

    def prepare(self, case, limit):
        self.ask("prepare", limit, case=dataclasses.asdict(case))

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        """The next request starts a new process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def main():
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    worker = Worker(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:  # whatever it raises is the answer
            answer = {"error": f"{type(error).__name__}: {str(error)[:1000]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
