"""Exact, reproducible, fast k-means for FAISS.

The engine, free of FAISS: :func:`kmeans`, :func:`assign`, :func:`batch_kmeans`.

FAISS's classes on the engine: ``Clustering``, ``Kmeans``, ``IndexIVFFlat``, ``IndexFlatL2``,
``IndexFlatIP`` and ``train(index, x)``. They need the faiss that the package was built against and
are loaded on first use.
"""

from .engine import KMeansResult, assign, available_backends, batch_kmeans, kmeans
from .version import __version__

NATIVE_NAMES = ("Clustering", "IndexFlatIP", "IndexFlatL2", "IndexIVFFlat", "Kmeans", "train")

__all__ = [
    "KMeansResult",
    "__version__",
    "assign",
    "available_backends",
    "batch_kmeans",
    "kmeans",
    *NATIVE_NAMES,
]


def __getattr__(name):
    if name in NATIVE_NAMES:
        from . import native

        value = getattr(native, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(NATIVE_NAMES))
