"""Training and filling of any faiss index with its k-means and assignments on the engine.

Everything goes through faiss's public Python API: the result is faiss's own, ordinary index.
"""

from contextlib import ExitStack, contextmanager

import faiss
import numpy as np

from .coarse import (
    assign_lists,
    engine_metric,
    quantizer_of,
    residuals_of,
    restored_on_error,
    train_quantizer,
)
from .codebooks import engine_trains, trained
from .encoder import add_codes, encodes, reconstructed, table_made_after
from .opq import train_opq
from .options import FAISS_VERSION, as_floats


def _classes(*names):
    """Those of faiss's classes that this version has, for isinstance()."""
    return tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))


_IVF = _classes("IndexIVF")
_GPU = _classes("GpuIndexIVF")
_ID_MAPS = _classes("IndexIDMap", "IndexIDMap2")
_REFINED = _classes("IndexRefine")
_COPIES = _classes("IndexReplicas", "IndexShards")
_WITH_PQ = _classes("IndexPQ", "IndexPQFastScan", "MultiIndexQuantizer")
_GRAPH_PQ = _classes("IndexHNSWPQ", "IndexNSGPQ")
_IVF_PQ = _classes("IndexIVFPQ", "IndexIVFPQFastScan")
_FAST_SCAN = _classes("IndexIVFFastScan", "IndexIVFPQFastScan")
# Those whose train() is IndexIVF's own: the rows and residuals that it makes can be made here.
_PLAIN_TRAIN = _classes(
    "IndexIVFPQ",
    "IndexIVFPQR",
    "IndexIVFPQFastScan",
    "IndexIVFScalarQuantizer",
    "IndexIVFAdditiveQuantizer",
)
_SUBSAMPLE_SEED = 1234  # of faiss's training of encoders, from 1.8 on


def train(index, x, device="auto"):
    """What index.train(x) does, with the k-means of its parts on the engine.

    Parameters
    ----------
    index : faiss.Index
        Pre-transforms, id maps, refinements and GPU indexes are looked into.
    x : (n, d) array, cast to float32, finite
    device : "auto", "cpu", "cuda", "cuda:1"

    Coarse quantizers, product quantizers and OPQ go through the engine; swig/python/README.md lists
    what faiss trains itself. A training that fails leaves the index as it was. Raises ValueError
    naming the argument for bad input.
    """
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index is a {type(index).__name__}, expected a faiss.Index")
    x = as_floats(x, index.d)
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        _train_transforms(index, x, device)
    elif isinstance(index, _GPU):
        _train_gpu(index, x, device)
    elif isinstance(index, _ID_MAPS):
        train(index.index, x, device)
        index.is_trained = index.index.is_trained
    elif isinstance(index, _REFINED):
        train(index.base_index, x, device)
        train(index.refine_index, x, device)
        index.is_trained = True
    elif isinstance(index, _COPIES):
        for i in range(index.count()):
            train(index.at(i), x, device)
        index.syncWithSubIndexes()
    elif isinstance(index, _IVF):
        _train_ivf(index, x, device)
    elif isinstance(index, _WITH_PQ):
        with trained(index.pq, _rows_of_pq(index, x), device):
            index.train(x)
    elif isinstance(index, _GRAPH_PQ):
        storage = faiss.downcast_index(index.storage)
        with trained(storage.pq, _rows_of_pq(storage, x), device):
            index.train(x)
    else:
        index.train(x)


def _rows_of_pq(index, x):
    """The rows that an IndexPQ trains its codebooks on: polysemous training keeps some back."""
    if not getattr(index, "do_polysemous_training", False):
        return x
    kept = min(index.polysemous_training.ntrain_permutation, len(x) // 4)
    return x[: len(x) - kept]


def _train_transforms(index, x, device):
    mine = []
    try:
        for i in range(index.chain.size()):
            transform = faiss.downcast_VectorTransform(index.chain.at(i))
            if not transform.is_trained:
                mine.append((transform, _matrix_of(transform)))
                if isinstance(transform, faiss.OPQMatrix):
                    train_opq(transform, x, device)
                else:
                    transform.train(x)
            x = transform.apply(x)
        train(index.index, x, device)
        index.is_trained = True
    except BaseException:
        for transform, matrix in mine:
            transform.is_trained = False
            if matrix is not None:
                faiss.copy_array_to_vector(matrix, transform.A)
        raise


def _matrix_of(transform):
    return faiss.vector_to_array(transform.A) if hasattr(transform, "A") else None


def _train_gpu(index, x, device):
    """Through a twin on the host: what the GPU's own training does cannot be replaced."""
    twin = faiss.index_gpu_to_cpu(index)
    train(twin, x, device)
    index.copyFrom(twin)


def _train_ivf(index, x, device):
    with restored_on_error(quantizer_of(index)):
        train_quantizer(index, x, device)
        full = index.quantizer.is_trained and index.quantizer.ntotal == index.nlist
        # Before 1.8 an encoder's training cannot be called with rows of ours.
        if full and isinstance(index, _PLAIN_TRAIN) and FAISS_VERSION >= (1, 8):
            _train_encoder(index, x, device)
        elif full and isinstance(index, _IVF_PQ):
            rows, _ = _encoder_rows(index, x, device)
            with _both_codebooks(index, rows, device):
                index.train(x)
        else:
            index.train(x)


def _encoder_rows(index, x, device):
    """The rows that an IVF's encoder is trained on, and their lists or None."""
    if FAISS_VERSION >= (1, 8):
        most, seed = index.train_encoder_num_vectors(), _SUBSAMPLE_SEED
    else:
        most, seed = index.pq.cp.max_points_per_centroid * index.pq.ksub, index.pq.cp.seed
    if 0 < most < len(x):
        x = x[_permutation(len(x), seed)[:most]]
    if not index.by_residual:
        return x, None
    quantizer = quantizer_of(index)
    lists = assign_lists(quantizer, x, device)
    return residuals_of(quantizer, x, lists), lists


def _permutation(n, seed):
    order = np.empty(n, dtype="int32")
    faiss.rand_perm(faiss.swig_ptr(order), n, seed)
    return order


def _train_encoder(index, x, device):
    rows, lists = _encoder_rows(index, x, device)
    with ExitStack() as stack:
        if isinstance(index, _IVF_PQ):
            stack.enter_context(table_made_after(index))
            stack.enter_context(_both_codebooks(index, rows, device))
        rows = np.ascontiguousarray(rows)
        index.train_encoder(
            len(rows), faiss.swig_ptr(rows), None if lists is None else faiss.swig_ptr(lists)
        )
    index.is_trained = True


@contextmanager
def _both_codebooks(index, rows, device):
    """Of pq, and of an IndexIVFPQR's second product quantizer on what the first leaves."""
    with trained(index.pq, rows, device):
        if hasattr(index, "refine_pq") and engine_trains(index.pq):
            with trained(index.refine_pq, rows - reconstructed(index.pq, rows, device), device):
                yield
        else:
            yield


def add(index, x, ids=None, device="auto"):
    """What index.add(x), or add_with_ids(x, ids), does, with coarse assignments on the engine.

    x is (n, d), cast to float32; ids (n,) int64 or None. Lists, ids and direct maps are those of
    faiss with the same centroids, but for rows whose nearest centroid float32 arithmetic gets
    wrong. Raises ValueError, with nothing added, for a row with a NaN or an Inf.
    """
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index is a {type(index).__name__}, expected a faiss.Index")
    x = as_floats(x, index.d)
    if ids is not None:
        ids = np.ascontiguousarray(ids, dtype="int64")
        if ids.shape != (len(x),):
            raise ValueError(f"ids has shape {ids.shape}, expected ({len(x)},)")
    if not index.is_trained:
        raise ValueError("index is not trained (is_trained=False)")
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        for i in range(index.chain.size()):
            x = faiss.downcast_VectorTransform(index.chain.at(i)).apply(x)
        add(index.index, x, ids, device)
        index.ntotal = index.index.ntotal
    elif isinstance(index, _ID_MAPS) and ids is not None:
        _add_to_map(index, x, ids, device)
    elif isinstance(index, _REFINED) and ids is None:
        add(index.base_index, x, None, device)
        add(index.refine_index, x, None, device)
        index.ntotal = index.refine_index.ntotal
    elif _assigns_by_engine(index):
        lists = assign_lists(quantizer_of(index), x, device)
        if encodes(index):
            add_codes(index, x, ids, lists, device)
            return
        index.add_core(
            len(x),
            faiss.swig_ptr(x),
            None if ids is None else faiss.swig_ptr(ids),
            faiss.swig_ptr(lists),
        )
    elif ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)


def _assigns_by_engine(index):
    # Fast-scan lists cannot be filled through add_core from Python; Dedup's add is its own.
    return (
        isinstance(index, _IVF)
        and not isinstance(index, (*_FAST_SCAN, *_classes("IndexIVFFlatDedup")))
        and engine_metric(quantizer_of(index)) is not None
    )


def _add_to_map(index, x, ids, device):
    add(index.index, x, None, device)
    known = faiss.vector_to_array(index.id_map)
    faiss.copy_array_to_vector(np.concatenate([known, ids]), index.id_map)
    index.ntotal = index.index.ntotal
    if hasattr(index, "construct_rev_map"):
        index.construct_rev_map()


class EngineIndex:
    """What an index of faiss becomes: train and add go through the engine."""

    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"

    def train(self, x, **options):
        """train(index, x); options of faiss's own train are left to it."""
        if any(value is not None and value != 0 for value in options.values()):
            super().train(x, **options)
        else:
            train(self, x, self.device)

    def add(self, x):
        add(self, x, None, self.device)

    def add_with_ids(self, x, ids):
        add(self, x, ids, self.device)


def engine_class(base):
    """The class of faiss's `base` with train and add on the engine; the same for the same base."""
    if issubclass(base, EngineIndex):
        return base
    if base not in _made:
        doc = f"faiss.{base.__name__} whose train and add go through the engine."
        _made[base] = type(base.__name__, (EngineIndex, base), {"__doc__": doc})
    return _made[base]


_made = {}


def accelerate(index, device="auto"):
    """Makes the index's own train, add and add_with_ids go through the engine; returns the index.

    The object in C++ is and stays faiss's: files, clones and copies on GPUs are ordinary indexes.
    """
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index is a {type(index).__name__}, expected a faiss.Index")
    index.__class__ = engine_class(type(index))
    index.device = device
    return index


def index_factory(d, description, metric=faiss.METRIC_L2, device="auto"):
    """faiss.index_factory(), accelerated."""
    return accelerate(faiss.index_factory(d, description, metric), device)
