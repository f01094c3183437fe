"""What an index of faiss consists of, as far as faiss's public Python API shows it."""

import faiss
import numpy as np


def named_classes(*names):
    """Those of faiss's classes that this version has, for isinstance()."""
    return tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))


GPU_INDEXES = named_classes("GpuIndex")
FLAT_INDEXES = named_classes("IndexFlat", "GpuIndexFlat")  # of the host and of GPUs
_FLAT = named_classes("IndexFlat", "IndexFlatL2", "IndexFlatIP")


def require_index(index):
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index is a {type(index).__name__}, expected a faiss.Index")


def cpp_class(index, method):
    """Name of the class of faiss's C++ whose `method` runs for an index of exactly this class.

    SWIG wraps a method in each class that overrides it: so an override in whatever version of faiss
    is told from the method of the class it derives from.
    """
    cls = type(index)
    wrapped = getattr(cls, method + "_c", None) or getattr(cls, method)
    return wrapped.__qualname__.partition(".")[0]


def own_method(index, method):
    """`method` of a class that a user derived from faiss's or from ours in Python; else None."""
    for cls in type(index).__mro__:
        library = cls.__module__.partition(".")[0]
        if method in vars(cls) and library != "faiss_flash":
            return None if library == "faiss" else vars(cls)[method].__get__(index)
    return None


def transforms_of(index):
    """Those of an IndexPreTransform."""
    chain = index.chain
    return [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]


def quantizer_of(ivf):
    return faiss.downcast_index(ivf.quantizer)


def engine_metric(index, flat=faiss.IndexFlat):
    """The engine's name of a flat index's metric; None where its own search must be used."""
    metrics = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
    return metrics.get(index.metric_type) if isinstance(index, flat) else None


def vectors_of(index):
    """(ntotal, d): what an index holds. Those of a flat one are a view: read them at once."""
    if not index.ntotal:
        return np.empty((0, index.d), "float32")
    if type(index) in _FLAT:
        numbers = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        return numbers.reshape(index.ntotal, index.d)
    return index.reconstruct_n(0, index.ntotal)
