"""faiss.Kmeans on the engine."""

import faiss

from .arrays import as_floats
from .calls import as_finite_floats
from .flat import nearest
from .scope import on_engine


class Kmeans(faiss.Kmeans):
    """faiss.Kmeans on the engine: the same constructor, attributes and methods.

    progressive_dim_steps is served by faiss itself. device is where the engine runs: "auto", "cpu",
    "cuda" or "cuda:1".
    """

    def __init__(self, d, k, device="auto", **kwargs):
        super().__init__(d, k, **kwargs)
        self.device = device

    def train(self, x, weights=None, init_centroids=None):
        """Cluster x (n, d), cast to float32; returns the last objective."""
        x = as_floats(x, self.d)
        if init_centroids is not None:
            init_centroids = as_finite_floats(init_centroids, self.d, "init_centroids")
        with on_engine(self.device):
            return super().train(x, weights, init_centroids)

    def assign(self, x):
        """(D, I): the squared distance to, or product with, and the id of the best centroid."""
        x = as_floats(x, self.d)
        assert self.centroids is not None, "should train before assigning"
        self.index.reset()
        self.index.add(self.centroids)
        found = nearest(self.index, x, self.device)
        return super().assign(x) if found is None else found
