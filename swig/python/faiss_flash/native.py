"""FAISS's classes on the engine, for the faiss that the package was built against.

Importing this module raises ImportError, with the reason and what to do, where that faiss is not
the one installed.
"""

import numpy as np

_ADVICE = (
    "Build faiss_flash against the faiss in use (its headers and its Python module are needed); "
    "faiss_flash.kmeans, assign and batch_kmeans work without."
)

try:
    import faiss
except ImportError as error:
    raise ImportError(
        f"faiss_flash's FAISS classes need the faiss module, which cannot be imported ({error}). "
        "Install it, for instance with: apt-get install python3-faiss. " + _ADVICE
    ) from error

try:
    from . import swig_native
except ImportError as error:
    raise ImportError(
        f"faiss_flash's FAISS classes were not built for faiss {faiss.__version__} at "
        f"{faiss.__file__} ({error}). " + _ADVICE
    ) from error


def _check_layout():
    """Refuse a faiss whose objects are laid out otherwise: the classes would read garbage."""
    number = swig_native.built_for_faiss()
    built_for = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    probe = faiss.Clustering(3, 7)
    probe.niter = 123456
    probe.decode_block_size = 7654321
    faiss.copy_array_to_vector(np.ones(3, dtype="float32"), probe.centroids)
    try:
        same = swig_native.reads_layout(probe, 123456, 7654321, 3, 7)
    except TypeError as error:  # two type tables in the process
        raise ImportError(
            "faiss_flash's FAISS classes were wrapped by a SWIG whose types are not those of the "
            f"faiss at {faiss.__file__} ({error}). " + _ADVICE
        ) from error
    if faiss.__version__ != built_for or not same:
        raise ImportError(
            f"faiss_flash's FAISS classes were built for faiss {built_for}, but "
            f"{faiss.__version__} is installed at {faiss.__file__}"
            f"{'' if same else ' with another layout of its classes'}. " + _ADVICE
        )


_check_layout()

Clustering = swig_native.Clustering
IndexFlatIP = swig_native.IndexFlatIP
IndexFlatL2 = swig_native.IndexFlatL2
IndexIVFFlat = swig_native.IndexIVFFlat

# numpy arguments, as faiss gives them to its own classes.
faiss.class_wrappers.handle_Clustering(Clustering)
for _index_class in (IndexFlatIP, IndexFlatL2, IndexIVFFlat):
    faiss.class_wrappers.handle_Index(_index_class)
# The index points to its quantizer: keep that alive.
faiss.add_ref_in_constructor(IndexIVFFlat, 0)


def train(index, x, device="auto"):
    """index.train(x), with the k-means of its coarse quantizer on the engine.

    The IVF is found through IndexPreTransform, IndexIDMap and IndexRefine; an index without one is
    trained by faiss. x is (n, d), cast to float32.
    """
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index is a {type(index).__name__}, expected a faiss.Index")
    x = np.ascontiguousarray(x, dtype="float32")
    if x.ndim != 2 or x.shape[1] != index.d:
        raise ValueError(f"x has shape {x.shape}, expected (n, {index.d})")
    swig_native.train_index(index, len(x), faiss.swig_ptr(x), device)


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
        clustering = Clustering(d, self.k, self.cp)
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
        from .engine import assign

        x = np.ascontiguousarray(x, dtype="float32")
        assert self.centroids is not None, "should train before assigning"
        self.index.reset()
        self.index.add(self.centroids)
        metric = "ip" if self.cp.spherical else "l2"
        return assign(x, self.centroids, metric, self.device)
