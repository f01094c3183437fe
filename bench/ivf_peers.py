"""Index builds that run.py measures: train, add, and recall against queries a second.

The same protocol as peers.py's classes: ivfflat(case) and ivfpq(case) return their figures. Points
are in host memory, as FAISS takes them.
"""

import functools
import statistics
import time

import numpy as np
import points
from peer import faiss_version

K = 10
QUERIES = 1000
NPROBES = [1, 2, 4, 8, 16, 32, 64]
TRAIN_SECONDS = 1.0  # trainings are repeated until they take so long, at most MOST_TRAININGS times
MOST_TRAININGS = 5
SINGLE_ADDS = 200


class IvfPeer:
    kinds = ("ivfflat", "ivfpq")
    own_blas = False

    def takes(self, case):
        return case.suite == "build" and case.kind in self.kinds

    def release(self):
        self.keep = None

    def version(self):
        return faiss_version()

    def ivfflat(self, case):
        import faiss

        def make():
            self.keep = faiss.IndexFlatL2(case.d)
            return faiss.IndexIVFFlat(self.keep, case.d, case.k)

        return self._measure(make, case, case.n // 8)

    def ivfpq(self, case):
        import faiss

        def make():
            self.keep = faiss.IndexFlatL2(case.d)
            return faiss.IndexIVFPQ(self.keep, case.d, case.k, 32, 8)

        return self._measure(make, case, case.n // 32)

    def _measure(self, make, case, base_size):
        """A median of trainings of indexes that make() gives; add, searches and adds of one row of
        the last of them."""
        train, base, queries = points.index_sets(case, base_size, QUERIES)
        figures = {"n_train": len(train), "n_base": len(base)}
        trainings = []
        while not trainings or (sum(trainings) < TRAIN_SECONDS and len(trainings) < MOST_TRAININGS):
            index = make()
            trainings.append(_seconds(functools.partial(self.train, index, train)))
        figures["train_s"] = statistics.median(trainings)
        figures["add_s"] = _seconds(lambda: index.add(base))
        truth = points.ground_truth(base, queries, K)
        if hasattr(index, "invlists"):
            figures["imbalance"] = index.invlists.imbalance_factor()
        figures["curve"] = [self._point(index, queries, truth, nprobe) for nprobe in NPROBES]
        rows = base[:SINGLE_ADDS, None]  # last: they are in the index twice then
        times = [_seconds(functools.partial(index.add, row)) for row in rows]
        figures["add_row_us"] = 1e6 * statistics.median(times)
        figures.update(self.assigned(index, train))
        return figures

    def train(self, index, x):
        index.train(x)

    def assigned(self, index, x):
        """Figures of finding the lists of x; stock's add is little else."""
        return {}

    @staticmethod
    def _point(index, queries, truth, nprobe):
        index.nprobe = nprobe
        times, found = [], None
        for _ in range(3):
            start = time.perf_counter()
            found = index.search(queries, K)[1]
            times.append(time.perf_counter() - start)
        hits = (found[:, :, None] == truth[:, None, :]).any(2).mean()
        qps = len(queries) / statistics.median(times)
        return {"nprobe": nprobe, "recall": float(hits), "qps": qps}


class IvfFaissFlash(IvfPeer):
    def version(self):
        import faiss

        import faiss_flash

        backend = faiss_flash.available_backends()[0]
        faiss_flash.kmeans(np.eye(64, dtype="float32"), 4, niter=1, device=backend)  # starts it
        return f"{faiss_flash.__version__} ({backend}), faiss {faiss.__version__}"

    def train(self, index, x):
        import faiss_flash

        faiss_flash.accelerate(index).train(x)

    def assigned(self, index, x):
        """By a quantizer that has found lists before: what is made of its centroids is kept."""
        import faiss

        import faiss_flash

        quantizer = faiss.downcast_index(index.quantizer)
        own = faiss_flash.IndexFlatL2(quantizer.d)
        own.add(quantizer.reconstruct_n(0, quantizer.ntotal))
        own.assign(x, 1)
        times = [_seconds(lambda: own.assign(x, 1)) for _ in range(3)]
        return {"assign_s": statistics.median(times)}


class IvfFaissFlashEmeans(IvfFaissFlash):
    """Lists by passes in batches instead of Lloyd's iterations."""

    def train(self, index, x):
        import faiss_flash

        faiss_flash.train(index, x, algorithm="e_means")


class IvfFaiss(IvfPeer):
    """Stock; its coarse k-means on the GPU where it has one (clustering_index)."""

    def train(self, index, x):
        import faiss

        if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
            self.clustering_index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), index.d)
            index.clustering_index = self.clustering_index
        index.train(x)


class IvfFaissGpu(IvfPeer):
    """Stock's own index on the GPU."""

    kinds = ("ivfflat",)

    def version(self):
        import faiss

        if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
            raise ImportError(f"faiss {faiss.__version__} sees no GPU")
        return faiss.__version__

    def ivfflat(self, case):
        import faiss

        self.keep = faiss.StandardGpuResources()

        def make():
            return faiss.GpuIndexIVFFlat(self.keep, case.d, case.k, faiss.METRIC_L2)

        return self._measure(make, case, case.n // 8)


IVF_PEERS = {
    "faiss_flash IVF": IvfFaissFlash,
    "faiss_flash IVF, e-means": IvfFaissFlashEmeans,
    "faiss IVF": IvfFaiss,
    "faiss GPU IVF": IvfFaissGpu,
}


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
