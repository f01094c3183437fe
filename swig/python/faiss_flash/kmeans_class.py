"""faiss.Kmeans on the engine."""

import faiss
import numpy as np

from .engine import assign


def make_kmeans(clustering_class):
    """The class Kmeans over a Clustering of the engine."""

    class Kmeans(faiss.Kmeans):
        """faiss.Kmeans on the engine: the same constructor, attributes and methods.

        gpu and progressive_dim_steps are served by faiss itself. device is where the engine runs:
        "auto", "cpu", "cuda" or "cuda:1".
        """

        def __init__(self, d, k, device="auto", **kwargs):
            super().__init__(d, k, **kwargs)
            self.device = device

        def train(self, x, weights=None, init_centroids=None):
            """Cluster x (n, d), cast to float32; returns the last objective."""
            if self.gpu or type(self.cp) is not faiss.ClusteringParameters:
                return super().train(x, weights, init_centroids)
            x = np.ascontiguousarray(x, dtype="float32")
            n, d = x.shape
            assert d == self.d, f"x has {d} columns, expected d={self.d}"
            clustering = clustering_class(d, self.k, self.cp)
            clustering.device = self.device
            if init_centroids is not None:
                assert init_centroids.shape[1] == d, f"init_centroids has not d={d} columns"
                initial = np.ascontiguousarray(init_centroids, dtype="float32")
                faiss.copy_array_to_vector(initial.ravel(), clustering.centroids)
            index = faiss.IndexFlatIP(d) if self.cp.spherical else faiss.IndexFlatL2(d)
            if weights is not None:
                weights = np.ascontiguousarray(weights, dtype="float32")
                assert weights.shape == (n,), f"weights has shape {weights.shape}, expected ({n},)"
            clustering.train(x, index, weights)
            self._keep_results(clustering, index)
            return self.obj[-1] if self.obj.size > 0 else 0.0

        def _keep_results(self, clustering, index):
            self.index = index
            centroids = faiss.vector_float_to_array(clustering.centroids)
            self.centroids = centroids.reshape(self.k, self.d)
            stats = clustering.iteration_stats
            fields = ("obj", "time", "time_search", "imbalance_factor", "nsplit")
            self.iteration_stats = [
                {name: getattr(stats.at(i), name) for name in fields} for i in range(stats.size())
            ]
            self.obj = np.array([one["obj"] for one in self.iteration_stats])

        def assign(self, x):
            """(D, I): the squared distance to, or product with, and the id of the best centroid."""
            x = np.ascontiguousarray(x, dtype="float32")
            assert self.centroids is not None, "should train before assigning"
            self.index.reset()
            self.index.add(self.centroids)
            metric = "ip" if self.cp.spherical else "l2"
            return assign(x, self.centroids, metric, self.device)

    return Kmeans
