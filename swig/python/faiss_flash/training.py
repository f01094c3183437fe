"""Training of any faiss index with its k-means on the engine.

Everything goes through faiss's public Python API: the result is faiss's own, ordinary index.
"""

from contextlib import ExitStack, contextmanager

import faiss
import numpy as np

from .atomic import unchanged_on_error
from .calls import as_finite_floats, check_finite
from .coarse import assign_lists, residuals_of, train_quantizer
from .codebooks import engine_trains, trained
from .encoder import reconstructed, table_made_after
from .errors import InvalidArgument
from .few_rows import beyond_float32
from .gpu_indexes import train_gpu
from .gpu_twins import GPU_IVF
from .opq import train_opq
from .options import FAISS_VERSION
from .parts import (
    cpp_class,
    named_classes,
    own_method,
    quantizer_of,
    require_index,
    transforms_of,
)
from .scope import Service, calls_are_faisss

_IVF_PQ = named_classes("IndexIVFPQ", "IndexIVFPQFastScan")
# The rows and residuals that IndexIVF.train() makes for their encoders can be made here.
_RESIDUAL_ENCODERS = named_classes(
    "IndexIVFPQ",
    "IndexIVFPQR",
    "IndexIVFPQFastScan",
    "IndexIVFScalarQuantizer",
    "IndexIVFAdditiveQuantizer",
)
_SUBSAMPLE_SEED = 1234  # of faiss's training of encoders, from 1.8 on


def train(index, x, device="auto", algorithm="default"):
    """What index.train(x) does, with the k-means of its parts on the engine.

    Parameters
    ----------
    index : faiss.Index
        Pre-transforms, id maps, refinements and GPU indexes are looked into.
    x : (n, d) array, cast to float32, finite
    device : "auto", "cpu", "cuda", "cuda:1"
        Indexes on GPUs are trained on their own card.
    algorithm : "lloyd", "e_means"
        Of coarse quantizers' k-means; "default": what FAISS_FLASH_ALGORITHM says, else "lloyd".

    Coarse quantizers, product quantizers and OPQ go through the engine; swig/python/README.md lists
    what faiss trains itself. A training that fails, or that Ctrl-C ends, leaves the index as it
    was. Raises InvalidArgument, a ValueError, naming the argument for bad input.
    """
    require_index(index)
    service = Service(device, algorithm).checked()
    own = own_method(index, "train")
    if own is None:
        train_parts(index, x, service)
        return
    x = as_finite_floats(x, index.d)
    with unchanged_on_error(faiss.downcast_index(index)):
        own(x)


def is_trained_here(index):
    """Whether something in it may be trained by the engine, as far as its class tells."""
    index = faiss.downcast_index(index)
    return isinstance(index, GPU_IVF) or cpp_class(index, "train") in _TRAINERS


def train_parts(index, x, service):
    """train() of an index whose own train() is faiss's."""
    x = as_finite_floats(x, index.d)
    whole = faiss.downcast_index(index)  # owns nothing: `index` must live on
    with calls_are_faisss(), unchanged_on_error(whole):
        _train(whole, x, service)


def _train(index, x, service):
    index = faiss.downcast_index(index)
    if isinstance(index, GPU_IVF):
        train_gpu(index, x, service.algorithm)
    else:
        # What overrides train() in a way not known here is left to it.
        _TRAINERS.get(cpp_class(index, "train"), _train_by_faiss)(index, x, service)


def _train_by_faiss(index, x, service):
    index.train(x)


def _train_transforms(index, x, service):
    """As faiss does: up to the last part that is not trained."""
    transforms = transforms_of(index)
    untrained = [i for i, part in enumerate([*transforms, index.index]) if not part.is_trained]
    last = untrained[-1] if untrained else 0
    for i, transform in enumerate(transforms[: last + 1]):
        if isinstance(transform, faiss.OPQMatrix) and not transform.is_trained:
            train_opq(transform, x, service.device)
        elif not transform.is_trained:
            transform.train(x)
        if i < last:
            x = transform.apply(x)
            check_finite(x, f"x behind chain[{i}]")
    if last == len(transforms):
        _train(index.index, x, service)
    index.is_trained = True


def _train_map(index, x, service):
    _train(index.index, x, service)
    index.is_trained = index.index.is_trained


def _train_refined(index, x, service):
    _train(index.base_index, x, service)
    _train(index.refine_index, x, service)
    index.is_trained = True


def _train_copies(index, x, service):
    for i in range(index.count()):
        _train(index.at(i), x, service)
    index.syncWithSubIndexes()


def _train_pq(index, x, service):
    with trained(index.pq, _rows_of_pq(index, x), service.device):
        index.train(x)


def _train_graph_of_pq(index, x, service):
    storage = faiss.downcast_index(index.storage)
    with trained(storage.pq, _rows_of_pq(storage, x), service.device):
        index.train(x)


def _rows_of_pq(index, x):
    """The rows that an IndexPQ trains its codebooks on: polysemous training keeps some back."""
    if not getattr(index, "do_polysemous_training", False):
        return x
    kept = min(index.polysemous_training.ntrain_permutation, len(x) // 4)
    return x[: len(x) - kept]


def _train_ivf(index, x, service):
    train_quantizer(index, x, service)
    full = index.quantizer.is_trained and index.quantizer.ntotal == index.nlist
    # Before 1.8 an encoder's training cannot be called with rows of ours.
    if full and isinstance(index, _RESIDUAL_ENCODERS) and FAISS_VERSION >= (1, 8):
        _train_encoder(index, x, service.device)
    elif full and isinstance(index, _IVF_PQ):
        if beyond_float32(x):
            raise InvalidArgument("x has squares beyond float32: faiss < 1.8 trains no codes on it")
        rows, _ = _encoder_rows(index, x, service.device)
        with _both_codebooks(index, rows, service.device):
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
    residuals = residuals_of(quantizer, x, lists)
    check_finite(residuals, "x less its list's centroid")
    return residuals, lists


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


# By the class of faiss's C++ that has the train().
_TRAINERS = {
    "IndexHNSWPQ": _train_graph_of_pq,
    "IndexIDMap": _train_map,
    "IndexIVF": _train_ivf,
    "IndexNSGPQ": _train_graph_of_pq,
    "IndexPQ": _train_pq,
    "IndexPQFastScan": _train_pq,
    "IndexPreTransform": _train_transforms,
    "IndexRefine": _train_refined,
    "IndexReplicas": _train_copies,
    "IndexShards": _train_copies,
    "MultiIndexQuantizer": _train_pq,
    "MultiIndexQuantizer2": _train_pq,
}
