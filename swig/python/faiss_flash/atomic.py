"""Changes of an index that are made as a whole or not at all."""

import signal
import threading
from contextlib import contextmanager
from functools import partial

import faiss

from .gpu_twins import GPU_IVF, copy_all_but_quantizer, untrained_twin
from .parts import FLAT_INDEXES, GPU_INDEXES, named_classes, vectors_of

# What trainings change, by the names of the fields in faiss's classes.
_NUMBERS = ("is_trained", "is_orthonormal", "use_precomputed_table", "norm_min", "norm_max")
_VECTORS = (
    "A",
    "PCAMat",
    "b",
    "center",
    "centroid_norms",
    "centroids",
    "codebooks",
    "eigenvalues",
    "mean",
    "norm_tabs",
    "thresholds",
    "trained",
)
_PARTS = (
    "aq",
    "base_index",
    "index",
    "itq",
    "pca_then_itq",
    "pq",
    "q1",
    "quantizer",
    "refine_index",
    "refine_pq",
    "rrot",
    "sq",
    "storage",
    "vt",
)
# Their vectors follow from their codebooks: only the count of them is theirs.
_VIRTUAL = named_classes("MultiIndexQuantizer", "AdditiveCoarseQuantizer")
_COPIES = named_classes("IndexReplicas", "IndexShards")


@contextmanager
def uninterrupted():
    """Within it Ctrl-C waits: Python would raise it between two steps that belong together."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            handler(*received[0])


@contextmanager
def undone_on_error(undo):
    """Where the body raises, the functions of the list `undo` are called, the last one first."""
    try:
        yield
    except BaseException:
        with uninterrupted():
            for put_back in reversed(undo):
                put_back()
        raise


def unchanged_on_error(index):
    """A context; where its body raises, the index is as it was before its training."""
    undo = []
    _keep(index, undo)
    return undone_on_error(undo)


def keep_vectors(index, undo):
    """Appends to `undo` what gives the index the vectors back that it holds."""
    vectors = vectors_of(index).copy()

    def put_back():
        index.reset()
        if len(vectors):
            index.add(vectors)

    undo.append(put_back)


def _keep(part, undo):
    """Appends to `undo` what puts this part of an index and its own parts back."""
    part = _downcast(part)
    if isinstance(part, GPU_INDEXES):
        _keep_gpu(part, undo)
        return
    if hasattr(part, "precomputed_table"):
        undo.append(_table_of(part))  # called when all that it is made of is back
    numbers = (*_NUMBERS, "ntotal") if isinstance(part, _VIRTUAL) else _NUMBERS
    undo.extend(_number_of(part, name) for name in numbers if hasattr(part, name))
    undo.extend(_vector_of(part, name) for name in _VECTORS if hasattr(part, name))
    for inner in _parts_of(part):
        _keep(inner, undo)
    quantizer = getattr(part, "quantizer", None)
    if quantizer is not None:
        _keep_quantizer(_downcast(quantizer), part.nlist, undo)
    if hasattr(part, "qnorm"):
        keep_vectors(part.qnorm, undo)


def _keep_gpu(index, undo):
    """Only inverted files are trained on GPUs, and only once."""
    if isinstance(index, GPU_IVF) and not index.is_trained:
        _keep_quantizer(_downcast(index.quantizer), index.nlist, undo)
        undo.append(partial(copy_all_but_quantizer, index, untrained_twin(index)))


def _keep_quantizer(quantizer, nlist, undo):
    full = quantizer.is_trained and quantizer.ntotal == nlist  # then trainings leave it alone
    on_gpu = isinstance(quantizer, GPU_INDEXES) and not isinstance(quantizer, FLAT_INDEXES)
    if not full and not on_gpu and not isinstance(quantizer, _VIRTUAL):
        keep_vectors(quantizer, undo)


def _parts_of(part):
    parts = [getattr(part, name, None) for name in _PARTS]
    if hasattr(part, "chain"):
        parts += [part.chain.at(i) for i in range(part.chain.size())]
    if isinstance(part, _COPIES):
        parts += [part.at(i) for i in range(part.count())]
    return [inner for inner in parts if inner is not None]


def _downcast(part):
    if isinstance(part, faiss.Index):
        return faiss.downcast_index(part)
    if isinstance(part, faiss.VectorTransform):
        return faiss.downcast_VectorTransform(part)
    return part


def _number_of(part, name):
    value = getattr(part, name)
    return lambda: setattr(part, name, value)


def _vector_of(part, name):
    values = faiss.vector_to_array(getattr(part, name))
    return lambda: faiss.copy_array_to_vector(values, getattr(part, name))


def _table_of(ivf):
    """The table of an IVFPQ is large: it is made anew rather than copied."""
    was_there = ivf.precomputed_table.size() > 0
    return lambda: ivf.precompute_table() if was_there else ivf.precomputed_table.resize(0)
