"""faiss_flash in big-ann-benchmarks: any IVF index of FAISS, trained and filled on the engine."""

import os
import time

import faiss
import numpy as np
from benchmark.algorithms.base import BaseANN
from benchmark.datasets import DATASETS

import faiss_flash

FOLDER = "data/indices/t3"
SUFFIX = ".faissindex"


class FaissFlashT3(BaseANN):
    """index_params, all but indexkey optional:

    indexkey : what faiss.index_factory() takes
    device : "auto", "cpu", "cuda", "cuda:1"; where the index is built
    maxtrain : training vectors; 0 for 50 a list and at least 65536
    niter : k-means iterations of the coarse quantizer; 0 for FAISS's
    add_bs : vectors added at a time
    """

    def __init__(self, metric, index_params):
        if metric not in _METRICS:
            raise NotImplementedError(f"metric is {metric!r}, expected one of {sorted(_METRICS)}")
        self._metric = metric
        self._key = index_params["indexkey"]
        self._device = index_params.get("device", "auto")
        self._maxtrain = index_params.get("maxtrain", 0)
        self._niter = index_params.get("niter", 0)
        self._add_bs = index_params.get("add_bs", 262144)
        self._index = None
        self._query_args = None
        self._times = {}
        self.name = str(self)

    def track(self):
        return "T3"

    def _prefix(self, dataset):
        # Everything that changes the index is in the name, or load_index would take another's file.
        return f"{dataset}.{self._key}.train{self._maxtrain}.niter{self._niter}.faiss_flash"

    def index_files_to_store(self, dataset):
        return FOLDER, self._prefix(dataset), [SUFFIX]

    def _path(self, dataset):
        return os.path.join(FOLDER, self._prefix(dataset) + SUFFIX)

    def fit(self, dataset):
        ds = DATASETS[dataset]()
        metric = _METRICS[self._metric]
        index = faiss_flash.index_factory(ds.d, self._key, metric, device=self._device)
        ivf = _ivf_of(index)
        if ivf is not None and self._niter > 0:
            ivf.cp.niter = self._niter
        lists = 0 if ivf is None else ivf.nlist
        maxtrain = self._maxtrain or max(50 * lists, 256 * 256)

        rows = self._rows(next(iter(ds.get_dataset_iterator(bs=maxtrain))))
        start = time.perf_counter()
        faiss_flash.train(index, rows, self._device)
        train_time = time.perf_counter() - start
        del rows  # the largest block there is

        add_time = 0.0
        for block in ds.get_dataset_iterator(bs=self._add_bs):
            rows = self._rows(block)
            start = time.perf_counter()
            faiss_flash.add(index, rows, None, self._device)
            add_time += time.perf_counter() - start
            print(f"added {index.ntotal} of {ds.nb} in {add_time:.1f} s")

        self._times = {"train_time": train_time, "add_time": add_time}
        os.makedirs(FOLDER, exist_ok=True)
        # Renamed once complete: a broken build must leave nothing to load.
        unfinished = self._path(dataset) + ".part"
        faiss.write_index(index, unfinished)
        os.replace(unfinished, self._path(dataset))
        self._use(index)

    def load_index(self, dataset):
        if not os.path.exists(self._path(dataset)):
            return False
        self._use(faiss.read_index(self._path(dataset)))
        return True

    def _use(self, index):
        self._index = index
        self._parameters = faiss.ParameterSpace()
        self._parameters.initialize(index)

    def _rows(self, x):
        x = np.ascontiguousarray(x, dtype="float32")
        if self._metric == "angular":
            norms = np.linalg.norm(x, axis=1, keepdims=True)
            x = x / np.maximum(norms, np.finfo("float32").tiny)
        return x

    def set_query_arguments(self, query_args):
        self._parameters.set_index_parameters(self._index, query_args)
        self._query_args = query_args
        faiss.cvar.indexIVF_stats.reset()

    def query(self, X, k):
        self.res = self._index.search(self._rows(X), k)

    def get_results(self):
        return self.res[1]

    def range_query(self, X, radius):
        self.res = self._index.range_search(self._rows(X), radius)

    def get_range_results(self):
        return self.res  # lims, distances, ids

    def get_additional(self):
        return {**self._times, "dist_comps": faiss.cvar.indexIVF_stats.ndis}

    def done(self):
        self._index = None
        self.res = None

    def __str__(self):
        query = "" if self._query_args is None else f", {self._query_args}"
        return f"FaissFlashT3({self._key}{query})"


_METRICS = {
    "euclidean": faiss.METRIC_L2,
    "ip": faiss.METRIC_INNER_PRODUCT,
    "angular": faiss.METRIC_INNER_PRODUCT,  # of unit rows
}


def _ivf_of(index):
    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None
