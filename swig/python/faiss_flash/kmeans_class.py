"""faiss.Kmeans on the engine."""

from functools import partial

import faiss
import numpy as np

from . import trace
from .arrays import as_floats
from .atomic import undone_on_error
from .calls import as_finite_floats
from .clustering import STATS, checked, cluster, float_objective, hold
from .flat import nearest
from .scope import Service, calls_are_faisss, on_engine


class Kmeans(faiss.Kmeans):
    """faiss.Kmeans on the engine: the same constructor, attributes and methods.

    progressive_dim_steps is served by faiss itself. device is where the engine runs: "auto", "cpu",
    "cuda" or "cuda:1"; algorithm is "default", "lloyd" or "e_means", as accelerate() has it.
    """

    def __init__(self, d, k, device="auto", algorithm="default", **kwargs):
        super().__init__(d, k, **kwargs)
        self.device, self.algorithm = Service(device, algorithm).checked()

    def train(self, x, weights=None, init_centroids=None):
        """Cluster x (n, d), cast to float32; returns the last objective."""
        x = as_floats(x, self.d)
        if init_centroids is not None:
            init_centroids = as_finite_floats(init_centroids, self.d, "init_centroids")
        service = Service(self.device, self.algorithm)
        if not self._trains_here():
            with on_engine(service):
                return super().train(x, weights, init_centroids)
        x, weights = checked(self.d, x, self.index, weights)
        result = cluster(self.cp, self.k, x, self.index, weights, init_centroids, service)
        if result is None:
            return super().train(x, weights, init_centroids)
        stats = [
            {name: one[name] for name in STATS} | {"obj": float_objective(one)}
            for one in result.iteration_stats
        ]
        obj = np.array([one["obj"] for one in stats])
        mine = vars(self)  # is updated in one step
        before = {name: mine[name] for name in ("centroids", "iteration_stats", "obj")}
        undo = [partial(mine.update, before)]
        with calls_are_faisss(), undone_on_error(undo):
            hold(self.index, result.centroids, undo)
            mine.update(centroids=result.centroids, iteration_stats=stats, obj=obj)
        return obj[-1] if len(obj) else 0.0

    def _trains_here(self):
        """Whether train() does not need faiss's Clustering in between, whose statistics take a
        microsecond a number to write and to read: a small call has a few hundred. Where faiss has
        no set_index(), its train() makes the index; traced calls are told by Clustering's.
        """
        return (
            type(self.cp) is faiss.ClusteringParameters
            and hasattr(faiss.Kmeans, "set_index")
            and not trace.ENABLED
        )

    def assign(self, x):
        """(D, I): the squared distance to, or product with, and the id of the best centroid."""
        x = as_floats(x, self.d)
        assert self.centroids is not None, "should train before assigning"
        self.index.reset()
        self.index.add(self.centroids)
        found = nearest(self.index, x, self.device)
        return super().assign(x) if found is None else found
