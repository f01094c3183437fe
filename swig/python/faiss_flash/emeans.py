"""The class of faiss's contrib/e_means.py (2026) on the engine."""

import time

import numpy as np

from .engine import assign, e_means_recipe, kmeans
from .errors import InvalidArgument, InvalidShape

_STATS = ("obj", "time", "imbalance_factor", "nsplit")  # faiss's of an epoch
_PRECISIONS = ("float32", "float16", "bfloat16")
_BACKENDS = ("native", "triton")


class Emeans:
    """Mini-batch k-means with moving averages: faiss.contrib.e_means.Emeans on the engine.

    The same constructor, methods, attributes and statistics. Assignments are exact in float64, and
    results are the same bits on the CPU and on any GPU.

    Parameters
    ----------
    d, k : int
        Columns of the vectors, and clusters.
    niter : int
        Epochs: passes over all vectors.
    batch_size, alpha0 : optional
        Vectors of a batch and its share of the averages at first; both or none.
    operating_point : "throughput" or "quality"
        What they follow from where they are not given; quality takes smaller batches.
    seed : int
        Of everything random.
    verbose : bool
        Prints a line an epoch.
    assignment_chunk_size, centroid_chunk_size, assignment_precision, assignment_backend
        Of faiss's class, checked and without effect: nothing is rounded here.
    device : "auto", "cpu", "cuda", "cuda:1"
        Where it runs; arrays of a GPU stay there.

    Attributes
    ----------
    centroids : (k, d) float32, a tensor where a tensor was trained on; None before
    obj : (niter,) float64, the sum of squared distances seen in each epoch while centroids moved
    iteration_stats : a list of dicts: obj, time, imbalance_factor, nsplit
    recipe : dict, what the last train() took
    n_splits : int, clusters that were given half of another one
    """

    def __init__(
        self,
        d,
        k,
        niter=25,
        batch_size=None,
        alpha0=None,
        operating_point="throughput",
        seed=1234,
        verbose=False,
        assignment_chunk_size=None,
        centroid_chunk_size=4096,
        assignment_precision="float32",
        assignment_backend="native",
        device="auto",
    ):
        self.d = int(d)
        self.k = int(k)
        self.niter = int(niter)
        self.batch_size = batch_size
        self.alpha0 = alpha0
        self.operating_point = operating_point
        self.seed = int(seed)
        self.verbose = bool(verbose)
        self.assignment_chunk_size = assignment_chunk_size
        self.centroid_chunk_size = centroid_chunk_size
        self.assignment_precision = assignment_precision
        self.assignment_backend = assignment_backend
        self.device = device
        self._check()
        self.reset()

    def _check(self):
        for name in ("d", "k", "niter", "centroid_chunk_size"):
            _require_positive(name, getattr(self, name))
        if self.assignment_chunk_size is not None:
            _require_positive("assignment_chunk_size", self.assignment_chunk_size)
        if not 0 <= self.seed < 2**32:
            raise InvalidArgument(f"seed={self.seed} must be in [0, 2**32)")
        for name, values in (
            ("assignment_precision", _PRECISIONS),
            ("assignment_backend", _BACKENDS),
        ):
            if getattr(self, name) not in values:
                raise InvalidArgument(f"{name}={getattr(self, name)!r} is not one of {values}")
        if (self.batch_size is None) != (self.alpha0 is None):
            raise InvalidArgument(
                f"batch_size={self.batch_size} and alpha0={self.alpha0} belong together"
            )
        if self.batch_size is not None:
            _require_positive("batch_size", self.batch_size)
            if not 0 < self.alpha0 <= 1:
                raise InvalidArgument(f"alpha0={self.alpha0} must be in (0, 1]")
        e_means_recipe(self.k, self.k, **self._options())

    def _options(self):
        options = {"niter": self.niter, "operating_point": self.operating_point}
        if self.batch_size is not None:
            options.update(batch_size=int(self.batch_size), alpha0=float(self.alpha0))
        return options

    def reset(self):
        """Forget the last train()."""
        self.centroids = None
        self.obj = None
        self.iteration_stats = None
        self.recipe = None
        self.n_splits = 0

    def train(self, x, init_centroids=None):
        """Cluster x (n, d), an array or a tensor of any device; returns the last epoch's objective.

        init_centroids : (k, d), optional; else k rows of x are drawn. A training that fails leaves
        what was trained before.
        """
        _require_columns("x", x, self.d)
        options = self._options()
        batch_size, alpha0 = e_means_recipe(max(1, len(x)), self.k, **options)
        if init_centroids is not None:
            init_centroids = _on_host(init_centroids)
            if np.shape(init_centroids) != (self.k, self.d):
                raise InvalidShape(
                    f"init_centroids has shape {np.shape(init_centroids)}, expected "
                    f"({self.k}, {self.d})"
                )
        start = time.perf_counter()
        result = kmeans(
            x,
            self.k,
            init_centroids=init_centroids,
            algorithm="e_means",
            device=self.device,
            seed=self.seed,
            max_points_per_centroid=-1,
            min_points_per_centroid=0,
            callback=self._print if self.verbose else None,
            **options,
        )
        seconds = time.perf_counter() - start
        self.centroids = _like(x, result.centroids)
        self.iteration_stats = [
            {name: one[name] for name in _STATS} for one in result.iteration_stats
        ]
        self.obj = _like(x, result.obj)
        self.n_splits = sum(one["nsplit"] for one in self.iteration_stats)
        steps = -(-len(x) // batch_size)
        given = self.batch_size is not None
        self.recipe = {
            "name": "manual" if given else "canonical_v1",
            "operating_point": None if given else self.operating_point,
            "batch_size": batch_size,
            "batch_size_requested": self.batch_size,
            "alpha0": alpha0,
            "niter": self.niter,
            "steps_per_pass": steps,
            "total_steps": steps * self.niter,
            "seed": self.seed,
            "backend": "faiss_flash",
            "seconds": seconds,
        }
        return result.objective

    def assign(self, x):
        """(D, I): the squared distance to the nearest centroid and its id."""
        if self.centroids is None:
            raise RuntimeError("train must be called before assign")
        _require_columns("x", x, self.d)
        distances, ids = assign(x, _on_host(self.centroids), device=self.device)
        return _like(x, distances), _like(x, ids)

    def _print(self, stats, seconds_left):
        print(
            f"e-means: objective={stats['obj']:.6g} imbalance={stats['imbalance_factor']:.3f} "
            f"nsplit={stats['nsplit']} ({stats['time']:.3g} s, {seconds_left:.3g} s to come)"
        )


def _require_positive(name, value):
    if value < 1:
        raise InvalidArgument(f"{name}={value} must be positive")


def _require_columns(name, x, d):
    if len(np.shape(x)) != 2 or np.shape(x)[1] != d:
        raise InvalidShape(f"{name} has shape {tuple(np.shape(x))}, expected (n, {d})")


def _is_tensor(x):
    return type(x).__module__.split(".")[0] == "torch"


def _on_host(x):
    return x.detach().cpu() if _is_tensor(x) else x


def _like(x, values):
    """numpy values in the kind of array that x is, where that is a tensor, on its device."""
    if not _is_tensor(x):
        return values
    import torch

    return torch.from_numpy(values).to(x.device)
