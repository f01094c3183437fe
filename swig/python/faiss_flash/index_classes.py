"""Indexes that the engine always serves."""

import faiss

from .methods import install
from .parts import require_index
from .scope import OnEngine, Patch, Service, serve


class EngineIndex(OnEngine):
    """A base of the index classes of this package: train and add go through the engine."""

    def __reduce__(self):  # for pickle and copy: faiss's ordinary index, as a file has it
        return faiss.deserialize_index, (faiss.serialize_index(self),)


class IndexIVFFlat(EngineIndex, faiss.IndexIVFFlat):
    """faiss.IndexIVFFlat on the engine."""


class IndexIVFPQ(EngineIndex, faiss.IndexIVFPQ):
    """faiss.IndexIVFPQ on the engine."""


class IndexIVFPQFastScan(EngineIndex, faiss.IndexIVFPQFastScan):
    """faiss.IndexIVFPQFastScan whose training is on the engine."""


class IndexIVFScalarQuantizer(EngineIndex, faiss.IndexIVFScalarQuantizer):
    """faiss.IndexIVFScalarQuantizer on the engine."""


class IndexPQ(EngineIndex, faiss.IndexPQ):
    """faiss.IndexPQ whose training is on the engine."""


def accelerate(index, device="auto", algorithm="default"):
    """Makes the index's own train, add and add_with_ids go through the engine; returns the index.

    Its type stays faiss's: files, pickles, clones and copies on GPUs are ordinary indexes. device
    and algorithm are those of train().
    """
    require_index(index)
    install()
    serve(index, Service(device, algorithm))
    return index


def index_factory(
    d, description, metric=faiss.METRIC_L2, *args, device="auto", algorithm="default"
):
    """faiss.index_factory(), accelerated; args: what this version of it has more."""
    return accelerate(faiss.index_factory(d, description, metric, *args), device, algorithm)


def patch(device="auto", algorithm="default"):
    """From now on faiss's own classes go through the engine where it can serve them.

    That is train, add and add_with_ids of every index, Clustering and Kmeans, ProductQuantizer and
    OPQMatrix, in all threads, until unpatch() or the end of a `with patch():`. Everything else, and
    the types of objects, stay faiss's. FAISS_FLASH_TRACE=1 in the environment prints what went
    where. Calls nest: the last one that is in force says device and algorithm, which are train()'s.
    """
    install()
    return Patch(Service(device, algorithm))


install()
