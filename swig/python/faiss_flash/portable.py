"""FAISS's classes on the engine over any installed faiss: no headers, no layout of its classes."""

from .clustering import Clustering  # noqa: F401
from .filling import add  # noqa: F401
from .flat import IndexFlatIP, IndexFlatL2  # noqa: F401
from .index_classes import (  # noqa: F401
    IndexIVFFlat,
    IndexIVFPQ,
    IndexIVFPQFastScan,
    IndexIVFScalarQuantizer,
    IndexPQ,
    accelerate,
    index_factory,
    patch,
)
from .kmeans_class import Kmeans  # noqa: F401
from .scope import unpatch  # noqa: F401
from .training import train  # noqa: F401
