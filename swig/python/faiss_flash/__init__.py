"""Exact, reproducible, fast k-means for FAISS.

The engine, free of FAISS: :func:`kmeans`, :func:`assign`, :func:`batch_kmeans`, ``Emeans``.

FAISS's classes on the engine: ``Clustering``, ``Kmeans``, ``IndexIVFFlat``, ``IndexIVFPQ`` and so
on; ``train(index, x)``, ``add(index, x)``, ``accelerate(index)``, ``index_factory(d, description)``
for any index; ``patch()`` for FAISS's own classes, or ``python -m faiss_flash script.py``. They are
loaded on first use, over whatever faiss is installed: compiled ones where the package was built
against that very faiss, else classes in Python that do the same.
"""

from .emeans import Emeans
from .engine import (
    KMeansResult,
    assign,
    available_backends,
    batch_kmeans,
    estimate,
    kmeans,
    num_threads,
    set_num_threads,
)
from .errors import InvalidArgument, InvalidShape, OutOfDeviceMemory
from .version import __version__

CLASS_NAMES = (
    "Clustering",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexIVFFlat",
    "IndexIVFPQ",
    "IndexIVFPQFastScan",
    "IndexIVFScalarQuantizer",
    "IndexPQ",
    "Kmeans",
    "accelerate",
    "add",
    "index_factory",
    "patch",
    "train",
    "unpatch",
)

__all__ = [
    "Emeans",
    "InvalidArgument",
    "InvalidShape",
    "KMeansResult",
    "OutOfDeviceMemory",
    "__version__",
    "assign",
    "available_backends",
    "batch_kmeans",
    "estimate",
    "kmeans",
    "num_threads",
    "set_num_threads",
    *CLASS_NAMES,
]


def faiss_classes():
    """The module that holds the classes for the faiss that is installed."""
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "faiss_flash's FAISS classes need the faiss module, which cannot be imported "
            f"({error}). Install one: pip install faiss-cpu, pip install faiss-gpu-cu12, conda "
            "install faiss, or apt-get install python3-faiss. faiss_flash.kmeans, assign and "
            "batch_kmeans work without."
        ) from error
    try:
        from . import native as module
    except ImportError:
        from . import portable as module
    return module


def __getattr__(name):
    if name in CLASS_NAMES:
        value = getattr(faiss_classes(), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(CLASS_NAMES))
