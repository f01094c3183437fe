"""faiss.Clustering on the engine, over any installed faiss."""

import faiss
import numpy as np

from .engine import kmeans
from .options import as_floats, engine_metric, engine_options, engine_takes

_STATS = ("obj", "time", "time_search", "imbalance_factor", "nsplit")


class Clustering(faiss.Clustering):
    """Drop-in for faiss.Clustering.

    The engine runs where the index is a flat one with the L2 or the inner product metric and
    init_method is RANDOM; all else is given to faiss itself. A training that fails leaves
    centroids, iteration_stats and the index as they were.
    """

    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"
    decided = 0  #: points of the last training whose centroid float64 decided

    def train(self, x, index, weights=None):
        """Cluster x (n, d), cast to float32; weights (n,). The index holds the centroids then.

        Raises ValueError naming the argument for bad input.
        """
        metric = engine_metric(faiss.downcast_index(index))
        if metric is None or not engine_takes(self):
            super().train(x, index, weights)
            return
        x = as_floats(x, self.d)
        if index.d != self.d:
            raise ValueError(f"index.d={index.d} does not match the clustering's d={self.d}")
        given = faiss.vector_to_array(self.centroids)
        if given.size % self.d != 0:
            raise ValueError(
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
        index.reset()
        index.add(result.centroids)
        faiss.copy_array_to_vector(result.centroids.ravel(), self.centroids)
        for stats in result.iteration_stats:
            self.iteration_stats.push_back(_to_faiss(stats))
        self.decided = sum(stats["decided"] for stats in result.iteration_stats)


def _to_faiss(stats):
    converted = faiss.ClusteringIterationStats()
    for name in _STATS:
        value = stats[name]
        if name == "obj":  # beyond float's range the field says so
            with np.errstate(over="ignore"):
                value = float(np.float32(value))
        setattr(converted, name, value)
    return converted
