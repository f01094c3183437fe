"""faiss_flash in ann-benchmarks: the build runs on the engine, the search is FAISS's own."""

import time

import faiss
import numpy as np

import faiss_flash

from ..base.module import BaseANN


class FaissFlashIVF(BaseANN):
    """IVF Flat. device is "cpu", "cuda", "cuda:1" or "auto"."""

    def __init__(self, metric, nlist, device="auto"):
        if metric not in ("angular", "euclidean"):
            raise NotImplementedError(f"metric is {metric!r}, expected 'angular' or 'euclidean'")
        self._metric = metric
        self._nlist = nlist
        self._device = device
        self._label = f"nlist={nlist}, device={device}"
        self._nprobe = None
        self._index = None
        self._found = None
        self._additional = {}
        self.name = str(self)

    def _rows(self, x):
        x = np.asarray(x, dtype="float32")
        if self._metric == "angular":
            # The L2 distance of unit rows sorts as the angle does. The caller still needs x, and
            # a row of zeros must not become one of NaNs.
            norms = np.linalg.norm(x, axis=-1, keepdims=True)
            x = x / np.maximum(norms, np.finfo("float32").tiny)
        return x

    def _make_index(self, d):
        return faiss_flash.IndexIVFFlat(faiss.IndexFlatL2(d), d, self._nlist)

    def fit(self, X):
        x = self._rows(X)
        index = self._make_index(x.shape[1])
        start = time.perf_counter()
        faiss_flash.train(index, x, self._device)
        trained = time.perf_counter()
        faiss_flash.add(index, x, None, self._device)
        added = time.perf_counter()
        self._index = index
        device = self._device
        if device == "auto":
            device = faiss_flash.available_backends()[0]
        self._additional = {
            "train_time": trained - start,
            "add_time": added - trained,
            "device": device,
        }

    def set_query_arguments(self, nprobe):
        self._nprobe = nprobe
        self._index.nprobe = min(nprobe, self._nlist)
        faiss.cvar.indexIVF_stats.reset()

    def query(self, v, n):
        return _valid(self._index.search(self._rows(v)[None, :], n)[1][0])

    def batch_query(self, X, n):
        self._found = self._index.search(self._rows(X), n)[1]

    def get_batch_results(self):
        return [_valid(ids) for ids in self._found]

    def get_additional(self):
        stats = faiss.cvar.indexIVF_stats
        # Every query is compared with all centroids as well.
        return {**self._additional, "dist_comps": stats.ndis + stats.nq * self._nlist}

    def done(self):
        self._index = None
        self._found = None

    def __str__(self):
        nprobe = "" if self._nprobe is None else f", nprobe={self._nprobe}"
        return f"{type(self).__name__}({self._label}{nprobe})"


class FaissFlashIVFPQ(FaissFlashIVF):
    """IVF PQ with 8 bits for about `dims` dimensions of a vector."""

    def __init__(self, metric, nlist, dims, device="auto"):
        super().__init__(metric, nlist, device)
        self._dims = dims
        self._label = f"nlist={nlist}, dims={dims}, device={device}"
        self.name = str(self)

    def _make_index(self, d):
        # "np": without the polysemous permutations, which take the most time and change no result.
        m = _subquantizers(d, self._dims)
        return faiss_flash.index_factory(d, f"IVF{self._nlist},PQ{m}np")


def _subquantizers(d, dims):
    """The most sub-quantizers, of `dims` dimensions or more each, that d can be divided into."""
    return max(m for m in range(1, max(1, d // dims) + 1) if d % m == 0)


def _valid(ids):
    """FAISS fills up with -1 where the probed lists hold too few vectors."""
    return ids[ids >= 0]
