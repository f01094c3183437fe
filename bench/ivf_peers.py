"""Index builds that run.py measures: train, add, and recall against queries a second.

The same protocol as peers.py's classes: ivfflat(case) and ivfpq(case) return their figures. Points
are in host memory, as FAISS takes them.
"""

import statistics
import time

import numpy as np
import points
from peer import faiss_version

K = 10
QUERIES = 1000
NPROBES = [1, 2, 4, 8, 16, 32, 64]


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

        d = case.d
        quantizer = faiss.IndexFlatL2(d)
        index = self.flat_class()(quantizer, d, case.k)
        self.keep = quantizer
        return self._measure(index, case, case.n // 8)

    def ivfpq(self, case):
        import faiss

        quantizer = faiss.IndexFlatL2(case.d)
        self.keep = quantizer
        index = faiss.IndexIVFPQ(quantizer, case.d, case.k, 32, 8)
        return self._measure(index, case, case.n // 32)

    def _measure(self, index, case, base_size):
        train, base, queries = points.index_sets(case, base_size, QUERIES)
        figures = {"n_train": len(train), "n_base": len(base)}
        figures["train_s"] = _seconds(lambda: self.train(index, train))
        figures["add_s"] = _seconds(lambda: self.add(index, base))
        truth = points.ground_truth(base, queries, K)
        figures["curve"] = [self._point(index, queries, truth, nprobe) for nprobe in NPROBES]
        return figures

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

    def flat_class(self):
        import faiss

        return faiss.IndexIVFFlat


class IvfFaissFlash(IvfPeer):
    def version(self):
        import faiss

        import faiss_flash

        backend = faiss_flash.available_backends()[0]
        faiss_flash.kmeans(np.eye(64, dtype="float32"), 4, niter=1)  # starts the device
        return f"{faiss_flash.__version__} ({backend}), faiss {faiss.__version__}"

    def train(self, index, x):
        import faiss_flash

        faiss_flash.train(index, x)

    def add(self, index, x):
        import faiss_flash

        faiss_flash.add(index, x)


class IvfFaiss(IvfPeer):
    """Stock; its coarse k-means on the GPU where it has one (clustering_index)."""

    def train(self, index, x):
        import faiss

        if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
            self.clustering_index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), index.d)
            index.clustering_index = self.clustering_index
        index.train(x)

    def add(self, index, x):
        index.add(x)


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
        index = faiss.GpuIndexIVFFlat(self.keep, case.d, case.k, faiss.METRIC_L2)
        return self._measure(index, case, case.n // 8)

    def train(self, index, x):
        index.train(x)

    def add(self, index, x):
        index.add(x)


IVF_PEERS = {
    "faiss_flash IVF": IvfFaissFlash,
    "faiss IVF": IvfFaiss,
    "faiss GPU IVF": IvfFaissGpu,
}


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
