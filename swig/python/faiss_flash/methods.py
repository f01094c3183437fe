"""faiss's own methods, each replaced once by one that asks scope.py whether the engine serves it.

The one mechanism behind patch(), accelerate() and the classes of this package: the types of objects
stay faiss's. A method that the engine does not serve at the moment is faiss's, arguments and all.
What is served at all times has its arguments checked, whatever its class; what is only patched and
holds nothing for the engine does not.
"""

import functools
import inspect
import threading
import warnings

import faiss
import numpy as np

from . import trace
from .clustering import train_clustering
from .codebooks import train_pq
from .errors import NotFinite
from .few_rows import few_and_plain
from .filling import add_rows, is_filled_here
from .opq import train_matrix
from .scope import is_served, service_of
from .signatures import asks_for_more
from .training import is_trained_here, train_parts

_lock = threading.Lock()
_warned = set()


def _train_index(faisss, index, service, x, *args, **options):
    if asks_for_more(faisss, (x, *args), options, 1):
        trace.left_to_faiss("arguments that only it has")
    elif is_trained_here(index) or is_served(index):
        return train_parts(index, x, service)
    return faisss(x, *args, **options)


def _adds(index, x, ids, device):
    """add_rows(), if the index is one to fill; False with nothing added for a row with a NaN where
    faiss takes it: of what is only patched a program may rely on that.
    """
    if not (is_filled_here(index) or is_served(index)):
        return False
    try:
        add_rows(index, x, ids, device)
    except NotFinite:
        if is_served(index) or not _takes_nan():
            raise
        trace.left_to_faiss("a NaN or an Inf")
        return False
    return True


def _takes_nan():
    """Before 1.15 faiss's lists for such rows are whatever memory holds: 1.12 may crash."""
    return tuple(int(part) for part in faiss.__version__.split(".")[:2]) >= (1, 15)


def _all_for_faiss(index, x):
    """Whether x is so little and so plain that a closer look would take longer than faiss does."""
    return type(x) is np.ndarray and few_and_plain(x, index.d) and index.is_trained


def _add_to_index(faisss, index, service, x, *args, **options):
    if _all_for_faiss(index, x):
        trace.left_to_faiss("few rows")
    elif asks_for_more(faisss, (x, *args), options, 1):
        trace.left_to_faiss("arguments that only it has")
    elif _adds(index, x, None, service.device):
        return None
    return faisss(x, *args, **options)


def _add_to_index_with_ids(faisss, index, service, x, ids, *args, **options):
    if _all_for_faiss(index, x) and np.shape(ids) == (len(x),):
        trace.left_to_faiss("few rows")
    elif asks_for_more(faisss, (x, ids, *args), options, 2):
        trace.left_to_faiss("arguments that only it has")
    elif _adds(index, x, ids, service.device):
        return None
    return faisss(x, ids, *args, **options)


def _train_clustering(faisss, clustering, service, x, index, weights=None):
    if not train_clustering(clustering, service, x, index, weights):
        faisss(x, index, weights)


def _train_pq(faisss, pq, service, x):
    train_pq(faisss, pq, x, service.device)


def _train_matrix(faisss, matrix, service, x):
    train_matrix(matrix, x, service.device)


# By class and method: what the engine does, and the parameters that it knows.
_SERVED = (
    (faiss.Index, "train", _train_index, ("x",)),
    (faiss.Index, "add", _add_to_index, ("x",)),
    (faiss.Index, "add_with_ids", _add_to_index_with_ids, ("x", "ids")),
    (faiss.Clustering, "train", _train_clustering, ("x", "index", "weights")),
    (faiss.ProductQuantizer, "train", _train_pq, ("x",)),
    (faiss.OPQMatrix, "train", _train_matrix, ("x",)),
)


def install(*classes):
    """Replaces the methods of faiss's classes, and of these, that are not replaced yet.

    Once replaced they stay so: what they do is decided at each call. Called again where something
    else, such as faiss.contrib.torch_utils, may have replaced them since.
    """
    with _lock:
        named = [value for value in vars(faiss).values() if isinstance(value, type)]
        for cls in dict.fromkeys([*named, *classes]):
            for base, name, serve, known in _SERVED:
                if issubclass(cls, base) and name in vars(cls):
                    _replace(cls, name, serve, known)


def _replace(cls, name, serve, known):
    method = vars(cls)[name]
    if hasattr(method, "left_to_faiss"):
        return
    if not _takes(method, known):
        if (cls, name) not in _warned:
            _warned.add((cls, name))
            warnings.warn(
                f"faiss {faiss.__version__}: {cls.__name__}.{name} has parameters that faiss_flash "
                "does not know; such methods are left to faiss",
                stacklevel=4,
            )
        return

    @functools.wraps(method)
    def served(self, *args, **options):
        service = service_of(self)
        x = args[0] if args else options.get("x")
        if service is None or _is_on_a_gpu(x):
            return method(self, *args, **options)
        faisss = method.__get__(self)
        if not trace.ENABLED:
            return serve(faisss, self, service, *args, **options)
        with trace.line(self, name, x, service.device):
            return serve(faisss, self, service, *args, **options)

    if name in _FEW_FIRST:
        served = _FEW_FIRST[name](method, served)
    served.left_to_faiss = method
    setattr(cls, name, served)


def _few_first(method, served):
    """add() that hands few rows on before anything is asked: whoever serves it would do so, too."""

    @functools.wraps(method)
    def add(self, x, *args, **options):
        if not args and not options and not trace.ENABLED and _all_for_faiss(self, x):
            return method(self, x)
        return served(self, x, *args, **options)

    return add


def _few_first_with_ids(method, served):
    @functools.wraps(method)
    def add_with_ids(self, x, ids, *args, **options):
        if (
            not args
            and not options
            and not trace.ENABLED
            and type(ids) is np.ndarray
            and _all_for_faiss(self, x)
            and ids.shape == (len(x),)
        ):
            return method(self, x, ids)
        return served(self, x, ids, *args, **options)

    return add_with_ids


_FEW_FIRST = {"add": _few_first, "add_with_ids": _few_first_with_ids}


def _is_on_a_gpu(x):
    """Tensors that faiss.contrib.torch_utils gives to indexes of a GPU."""
    return type(x) is not np.ndarray and hasattr(x, "__cuda_array_interface__")


def _takes(method, known):
    """Whether it takes these parameters, and no others without a default."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = tuple(parameter.name for parameter in parameters[: len(known)])
    return names == known and all(
        parameter.default is not parameter.empty for parameter in parameters[len(known) :]
    )
