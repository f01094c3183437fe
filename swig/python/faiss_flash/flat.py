"""faiss's flat indexes with exact k = 1 search and k-means on the engine."""

import faiss

from .arrays import as_floats
from .calls import as_finite_floats, assign_to_vectors, check_finite
from .clustering import Clustering
from .errors import InvalidArgument, InvalidShape
from .few_rows import engine_searches
from .parts import engine_metric, vectors_of
from .signatures import asks_for_more


def nearest(flat, x, device):
    """(D, I), (n,) each, of x (n, d); None where faiss's own search must or had better answer."""
    flat = faiss.downcast_index(flat)
    metric = engine_metric(flat)
    if metric is None or not flat.ntotal or not engine_searches(x):
        return None
    try:
        check_finite(x, "x")
    except InvalidArgument:  # faiss finds nothing near such a row, and answers -1
        return None
    return assign_to_vectors(x, vectors_of(flat), metric, device)


class EngineFlat:
    """What the flat indexes have in common, those in Python and the compiled ones."""

    def train(self, x, *args, **options):
        """With nlist > 0: clusters x (n, d) and holds the nlist centroids afterwards."""
        faisss = faiss.IndexFlat.train.__get__(self)
        if not asks_for_more(faisss, (x, *args), options, 1):
            x = as_finite_floats(x, self.d)
        super().train(x, *args, **options)

    def search(self, x, k, **options):
        """(D, I), (n, k) each; k = 1 of many rows is exact, if nothing else is asked for."""
        if asks_for_more(super().search, (x, k), options, 2):
            return super().search(x, k, **options)
        x = as_floats(x, self.d)
        found = nearest(self, x, self.device) if k == 1 else None
        if found is None:
            return super().search(x, k, **options)
        return found[0][:, None], found[1][:, None]

    def assign(self, x, k=1, labels=None):
        """(n, k) ids of the nearest vectors, in `labels` if given."""
        found = self.search(x, k)[1]
        if labels is None:
            return found
        if labels.shape != found.shape:
            raise InvalidShape(f"labels has shape {labels.shape}, expected {found.shape}")
        labels[...] = found
        return labels


class _Trained:
    """nlist, cp and train() of the flat indexes in Python."""

    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"
    algorithm = "default"  #: of train(): "lloyd", "e_means"
    nlist = 0  #: centroids that train() makes; 0: it does nothing
    cp = None  #: faiss.ClusteringParameters of train()

    def __init__(self, d=0, nlist=0):
        super().__init__(d)
        self.nlist = nlist
        self.cp = faiss.ClusteringParameters()
        self.cp.spherical = self.metric_type == faiss.METRIC_INNER_PRODUCT

    def train(self, x, *args, **options):
        if self.nlist > 0:
            clustering = Clustering(self.d, self.nlist, self.cp)
            clustering.device = self.device
            clustering.algorithm = self.algorithm
            clustering.train(x, self)


class IndexFlatL2(EngineFlat, _Trained, faiss.IndexFlatL2):
    """faiss.IndexFlatL2 on the engine."""


class IndexFlatIP(EngineFlat, _Trained, faiss.IndexFlatIP):
    """faiss.IndexFlatIP on the engine; the centroids that train() makes are normalised."""
