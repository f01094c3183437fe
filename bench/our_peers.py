"""faiss_flash as a peer: points on the GPU or the host, exact or fast, and its kernels alone."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from peer import FIT_KINDS, Peer
from suites import PASSES


class FaissFlash(Peer):
    """Points on the device (or, below, on the host), exact."""

    kinds = (*FIT_KINDS, "assign", "update", "io")
    batched = True
    dtypes = ("f32", "f16")
    options = {}

    def version(self):
        import faiss_flash

        backend = faiss_flash.available_backends()[0]
        needs_device = self.where == "device" or self.pinned
        if needs_device and not backend.startswith("cuda"):
            raise ImportError("no CUDA backend here")
        return f"{faiss_flash.__version__} ({self.options.get('device', backend)})"

    def prepare(self, case):
        super().prepare(case)
        if self.initial is not None:
            self.initial = np.stack([self._float(part) for part in self.initial])

    @staticmethod
    def _float(rows):
        return rows if isinstance(rows, np.ndarray) else rows.float().cpu().numpy()

    def fit(self, k, niter):
        import faiss_flash

        options = {
            "niter": niter,
            "max_points_per_centroid": -1,
            "min_points_per_centroid": 1,
            "early_stop_threshold": None,
            **self.options,
        }
        if len(self.x) == 1:
            first = None if self.initial is None else self.initial[0]
            self.found = faiss_flash.kmeans(self.x[0], k, init_centroids=first, **options).centroids
        else:
            result = faiss_flash.batch_kmeans(self.x, k, init_centroids=self.initial, **options)
            self.found = result.centroids[0]

    def centroids(self):
        return self.found

    def assign_rows(self, count):
        import faiss_flash

        device = self.options.get("device", "auto")
        return faiss_flash.assign(self.x[0, :count], self.found, device=device)[1]

    def assign(self, case):
        return self._kernel("assign" if case.dtype == "f16" else "assign_exact", case)

    def update(self, case):
        return self._kernel("update" if case.dtype == "f16" else "update_f32", case)

    @staticmethod
    def _kernel(name, case):
        """Median ms of bench_gpu's kernel of that name."""
        here = pathlib.Path(__file__).parent
        program = os.environ.get("BENCH_GPU", here.parent / "build/bench/bench_gpu")
        row = f"{name}/B{case.batch}/N{case.n}/K{case.k}/d{case.d}"
        arguments = [str(program), f"--benchmark_filter=^{row}/", "--benchmark_format=json"]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr[-300:]}")
        rows = json.loads(done.stdout)["benchmarks"]
        medians = [r for r in rows if r.get("aggregate_name") == "median"]
        if not rows or rows[0].get("error_occurred"):
            raise RuntimeError(f"bench_gpu has no {row}, or cannot run it here")
        return (medians or rows)[0]["real_time"]

    def io(self, case):
        """Bytes read and written by the card's memory in one iteration: ncu's counters of a run of
        three iterations less those of two."""
        return {"bytes": self._counted(case, 3) - self._counted(case, 2)}

    @staticmethod
    def _counted(case, niter):
        code = (
            "import numpy as np, faiss_flash; "
            f"x = np.random.default_rng(1).standard_normal(({case.n}, {case.d}), dtype='f4'); "
            f"faiss_flash.kmeans(x, {case.k}, niter={niter}, max_points_per_centroid=-1, "
            "early_stop_threshold=None)"
        )
        metrics = "dram__bytes_read.sum,dram__bytes_write.sum"
        arguments = ["ncu", "--csv", "--print-units", "base", "--metrics", metrics]
        done = subprocess.run(
            [*arguments, sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        values = [
            float(line.rsplit('","', 1)[1].strip('"\n').replace(",", ""))
            for line in done.stdout.splitlines()
            if '"dram__bytes' in line
        ]
        if done.returncode or not values:
            raise RuntimeError(f"ncu: {(done.stdout + done.stderr)[-300:]}")
        return sum(values)


class FaissFlashFast(FaissFlash):
    """Centroids rounded to 16 bits, as peers that work in f16 do."""

    kinds = FIT_KINDS
    dtypes = ("f16",)
    options = {"precision": "fast"}

    def assign_rows(self, count):
        return None  # what it compares is not what assign() does


class FaissFlashHost(FaissFlash):
    where = "host"
    kinds = FIT_KINDS
    suites = ("call", "iteration", "train", "memory")
    batched = False
    dtypes = ("f32",)


class FaissFlashPinned(FaissFlashHost):
    suites = ("call",)
    pinned = True


class FaissFlashCpu(FaissFlashHost):
    suites = ("cpu", "quality")
    options = {"device": "cpu"}


class FaissFlashEmeans(FaissFlash):
    """Passes in batches, moving averages."""

    kinds = ("call",)
    suites = ("quality",)
    iterations = PASSES
    batched = False
    dtypes = ("f32",)
    options = {"algorithm": "e_means"}


class FaissFlashEmeansQuality(FaissFlashEmeans):
    options = {"algorithm": "e_means", "operating_point": "quality"}


class FaissFlashEmeansCpu(FaissFlashEmeans):
    where = "host"
    options = {"algorithm": "e_means", "device": "cpu"}


class FaissFlashEmeansQualityCpu(FaissFlashEmeansCpu):
    options = {**FaissFlashEmeansQuality.options, "device": "cpu"}
