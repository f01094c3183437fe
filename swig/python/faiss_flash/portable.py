"""FAISS's classes on the engine over any installed faiss: no headers, no layout of its classes."""

import faiss

from .build import accelerate, add, engine_class, index_factory, train  # noqa: F401
from .clustering import Clustering
from .flat import IndexFlatIP, IndexFlatL2  # noqa: F401
from .kmeans_class import make_kmeans

Kmeans = make_kmeans(Clustering)
IndexIVFFlat = engine_class(faiss.IndexIVFFlat)
IndexIVFPQ = engine_class(faiss.IndexIVFPQ)
IndexIVFPQFastScan = engine_class(faiss.IndexIVFPQFastScan)
IndexIVFScalarQuantizer = engine_class(faiss.IndexIVFScalarQuantizer)
IndexPQ = engine_class(faiss.IndexPQ)
