"""FAISS's classes on the engine over any installed faiss: no headers, no layout of its classes."""

import faiss

from .clustering import Clustering
from .filling import add  # noqa: F401
from .flat import IndexFlatIP, IndexFlatL2  # noqa: F401
from .index_classes import accelerate, engine_class, index_factory  # noqa: F401
from .kmeans_class import make_kmeans
from .training import train  # noqa: F401

Kmeans = make_kmeans(Clustering)
IndexIVFFlat = engine_class(faiss.IndexIVFFlat)
IndexIVFPQ = engine_class(faiss.IndexIVFPQ)
IndexIVFPQFastScan = engine_class(faiss.IndexIVFPQFastScan)
IndexIVFScalarQuantizer = engine_class(faiss.IndexIVFScalarQuantizer)
IndexPQ = engine_class(faiss.IndexPQ)
