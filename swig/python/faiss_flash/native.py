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

from .build import accelerate, add, engine_class, index_factory  # noqa: E402, F401
from .kmeans_class import make_kmeans  # noqa: E402

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

# Those that the compiled module does not have.
IndexIVFPQ = engine_class(faiss.IndexIVFPQ)
IndexIVFPQFastScan = engine_class(faiss.IndexIVFPQFastScan)
IndexIVFScalarQuantizer = engine_class(faiss.IndexIVFScalarQuantizer)
IndexPQ = engine_class(faiss.IndexPQ)


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


Kmeans = make_kmeans(Clustering)
