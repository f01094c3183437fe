"""faiss's flat indexes with exact k = 1 search and k-means on the engine, from Python."""

import faiss
import numpy as np

from .clustering import Clustering
from .engine import assign
from .options import as_floats, engine_metric


class _EngineFlat:
    """What IndexFlatL2 and IndexFlatIP have in common."""

    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"
    nlist = 0  #: centroids that train() makes; 0: it does nothing
    cp = None  #: faiss.ClusteringParameters of train()

    def __init__(self, d, nlist=0):
        super().__init__(d)
        self.nlist = nlist
        self.cp = faiss.ClusteringParameters()
        self.cp.spherical = self.metric_type == faiss.METRIC_INNER_PRODUCT

    def train(self, x):
        """With nlist > 0: clusters x (n, d) and holds the nlist centroids afterwards."""
        if self.nlist > 0:
            clustering = Clustering(self.d, self.nlist, self.cp)
            clustering.device = self.device
            clustering.train(x, self)

    def search(self, x, k, **options):
        """(D, I), (n, k) each; k = 1 without options is exact."""
        few = 32  # the engine reads and packs all vectors once a call
        if k != 1 or options or self.ntotal == 0 or len(x) < few or not np.isfinite(x).all():
            return super().search(x, k, **options)
        x = as_floats(x, self.d)
        vectors = self.reconstruct_n(0, self.ntotal)
        distances, ids = assign(x, vectors, engine_metric(self), self.device)
        return distances[:, None], ids[:, None]

    def assign(self, x, k=1):
        """(n, k) ids of the nearest vectors."""
        return self.search(x, k)[1]


class IndexFlatL2(_EngineFlat, faiss.IndexFlatL2):
    """faiss.IndexFlatL2 on the engine."""


class IndexFlatIP(_EngineFlat, faiss.IndexFlatIP):
    """faiss.IndexFlatIP on the engine; the centroids that train() makes are normalised."""
