"""faiss.Clustering on the engine."""

import faiss
import numpy as np

from .arrays import as_weights
from .atomic import keep_vectors, undone_on_error, uninterrupted
from .calls import as_finite_floats, kmeans
from .errors import InvalidArgument, InvalidShape
from .options import engine_options, engine_takes
from .parts import engine_metric, require_index

_STATS = ("obj", "time", "time_search", "imbalance_factor", "nsplit")


class CheckedClustering:
    """What faiss's wrapper of a Clustering asserts, said in words; a base of its subclasses."""

    def train(self, x, index, weights=None):
        """Cluster x (n, d), cast to float32; weights (n,). The index holds the centroids then.

        Raises InvalidArgument, a ValueError, naming the argument for bad input.
        """
        require_index(index)
        x = as_finite_floats(x, self.d)
        self._check_d("index", index)
        super().train(x, index, _checked_weights(weights, len(x)))

    def train_encoded(self, x, codec, index, weights=None):
        """Cluster rows (n, codec.sa_code_size()) uint8 in the code of an index."""
        x = np.asarray(x)
        size = codec.sa_code_size()
        if x.ndim != 2 or x.shape[1] != size:
            raise InvalidShape(f"x has shape {x.shape}, expected (n, {size})")
        self._check_d("codec", codec)
        self._check_d("index", index)
        super().train_encoded(x, codec, index, _checked_weights(weights, len(x)))

    def _check_d(self, name, index):
        if index.d != self.d:
            raise InvalidShape(f"{name}.d={index.d} does not match the clustering's d={self.d}")


def _checked_weights(weights, n):
    return None if weights is None else as_weights(weights, n).ravel()


class _OnEngine(faiss.Clustering):
    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"
    decided = 0  #: points of the last training whose centroid float64 decided

    def train(self, x, index, weights=None):
        flat = faiss.downcast_index(index)
        metric = engine_metric(flat)
        if metric is None or not engine_takes(self):
            super().train(x, index, weights)
            return
        given = faiss.vector_to_array(self.centroids)
        if given.size % self.d != 0:
            raise InvalidArgument(
                f"size of provided input centroids ({given.size}) not a multiple of dimension "
                f"(d={self.d})"
            )
        result = kmeans(
            x,
            self.k,
            weights=weights,
            init_centroids=given.reshape(-1, self.d) if given.size else None,
            metric=metric,
            device=self.device,
            **engine_options(self),
        )
        stats = [_to_faiss(one) for one in result.iteration_stats]
        undo = []
        keep_vectors(flat, undo)
        with uninterrupted(), undone_on_error(undo):
            flat.reset()
            flat.add(result.centroids)
            faiss.copy_array_to_vector(result.centroids.ravel(), self.centroids)
            for one in stats:
                self.iteration_stats.push_back(one)
            self.decided = sum(stats["decided"] for stats in result.iteration_stats)


class Clustering(CheckedClustering, _OnEngine):
    """Drop-in for faiss.Clustering.

    The engine runs where the index is a flat one with the L2 or the inner product metric and
    init_method is RANDOM; all else is given to faiss itself. A training that fails leaves
    centroids, iteration_stats and the index as they were.
    """


def _to_faiss(stats):
    converted = faiss.ClusteringIterationStats()
    for name in _STATS:
        value = stats[name]
        if name == "obj":  # beyond float's range the field says so
            with np.errstate(over="ignore"):
                value = float(np.float32(value))
        setattr(converted, name, value)
    return converted
