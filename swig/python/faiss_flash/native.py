"""FAISS's classes on the engine, compiled for the faiss that the package was built against.

Importing this module raises ImportError, with the reason and what to do, where that faiss is not
the one installed.
"""

import faiss
import numpy as np

_ADVICE = "The classes of faiss_flash.portable work with any faiss."

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

from .clustering import CheckedClustering  # noqa: E402
from .filling import add  # noqa: E402, F401
from .flat import EngineFlat  # noqa: E402
from .index_classes import (  # noqa: E402, F401
    EngineIndex,
    IndexIVFPQ,
    IndexIVFPQFastScan,
    IndexIVFScalarQuantizer,
    IndexPQ,
    accelerate,
    index_factory,
    patch,
)
from .kmeans_class import Kmeans  # noqa: E402, F401
from .methods import install  # noqa: E402
from .scope import unpatch  # noqa: E402, F401
from .training import train  # noqa: E402, F401

# numpy arguments, as faiss gives them to its own classes.
faiss.class_wrappers.handle_Clustering(swig_native.Clustering)
for _compiled in (swig_native.IndexFlatIP, swig_native.IndexFlatL2, swig_native.IndexIVFFlat):
    faiss.class_wrappers.handle_Index(_compiled)
# The index points to its quantizer: keep that alive.
faiss.add_ref_in_constructor(swig_native.IndexIVFFlat, 0)
install(swig_native.IndexIVFFlat)


class Clustering(CheckedClustering, swig_native.Clustering):
    """faiss.Clustering on the engine, also where C++ calls it."""


class IndexFlatL2(EngineFlat, swig_native.IndexFlatL2):
    """faiss.IndexFlatL2 on the engine, also where C++ calls it."""


class IndexFlatIP(EngineFlat, swig_native.IndexFlatIP):
    """faiss.IndexFlatIP on the engine, also where C++ calls it."""


class IndexIVFFlat(EngineIndex, swig_native.IndexIVFFlat):
    """faiss.IndexIVFFlat on the engine, also where C++ calls it."""

    device = swig_native.IndexIVFFlat.device  # fields of C++
    algorithm = swig_native.IndexIVFFlat.algorithm
