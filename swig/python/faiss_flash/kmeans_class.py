"""faiss.Kmeans on the engine."""

import faiss
import numpy as np

from .arrays import as_floats
from .calls import as_finite_floats
from .flat import nearest

_FIELDS = ("obj", "time", "time_search", "imbalance_factor", "nsplit")


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
            clustering = clustering_class(self.d, self.k, self.cp)
            clustering.device = self.device
            if init_centroids is not None:
                initial = as_finite_floats(init_centroids, self.d, "init_centroids")
                faiss.copy_array_to_vector(initial.ravel(), clustering.centroids)
            index = self._index_to_fill()
            clustering.train(x, index, weights)
            self._keep_results(clustering, index)
            return self.obj[-1] if self.obj.size > 0 else 0.0

        def _index_to_fill(self):
            if hasattr(faiss.Kmeans, "set_index"):  # made by the constructor, or the caller's own
                return self.index
            return faiss.IndexFlatIP(self.d) if self.cp.spherical else faiss.IndexFlatL2(self.d)

        def _keep_results(self, clustering, index):
            centroids = faiss.vector_float_to_array(clustering.centroids)
            stats = clustering.iteration_stats
            stats = [
                {name: getattr(stats.at(i), name) for name in _FIELDS} for i in range(stats.size())
            ]
            self.__dict__.update(
                index=index,
                centroids=centroids.reshape(self.k, self.d),
                iteration_stats=stats,
                obj=np.array([one["obj"] for one in stats]),
            )

        def assign(self, x):
            """(D, I): the squared distance to, or product with, and the id of the best centroid."""
            x = as_floats(x, self.d)
            assert self.centroids is not None, "should train before assigning"
            self.index.reset()
            self.index.add(self.centroids)
            found = nearest(self.index, x, self.device)
            return super().assign(x) if found is None else found

    return Kmeans
