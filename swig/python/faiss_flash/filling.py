"""Filling of any faiss index with its coarse assignments and codes by the engine."""

from functools import partial

import faiss
import numpy as np

from . import trace
from .atomic import uninterrupted
from .calls import as_finite_floats, check_finite
from .coarse import assign_lists
from .encoder import codes_of, encodes
from .errors import InvalidArgument, InvalidShape
from .few_rows import engine_adds, engine_searches
from .parts import (
    cpp_class,
    engine_metric,
    own_method,
    quantizer_of,
    require_index,
    transforms_of,
)
from .scope import calls_are_faisss

_MAPS = ("IndexIDMap", "IndexIDMap2")
# Those whose add_with_ids() is: find the rows' lists, then add_core().
_BY_ADD_CORE = ("IndexIVF", "IndexIVFPQR")


def add(index, x, ids=None, device="auto"):
    """What index.add(x), or add_with_ids(x, ids), does, with coarse assignments on the engine.

    x is (n, d), cast to float32; ids (n,) int64 or None. Lists, ids and direct maps are those of
    faiss with the same centroids, but for rows whose nearest centroid float32 arithmetic gets
    wrong. Calls of few rows, which the engine would not make faster, are faiss's own. Ctrl-C ends
    it with nothing added. Raises InvalidArgument, a ValueError, with nothing added, for a row with
    a NaN or an Inf.
    """
    require_index(index)
    own = own_method(index, "add" if ids is None else "add_with_ids")
    if own is None:
        add_rows(index, x, ids, device)
        return
    x, ids = _checked(index, x, ids)
    own(x) if ids is None else own(x, ids)


def is_filled_here(index):
    """Whether rows may end in an inverted file: all else is faiss's."""
    if isinstance(index, faiss.IndexIVF):
        return True
    inner = getattr(index, "index", None) or getattr(index, "base_index", None)
    return isinstance(inner, faiss.Index) and is_filled_here(faiss.downcast_index(inner))


def add_rows(index, x, ids, device):
    """add() to an index whose own add() is faiss's."""
    x, ids = _checked(index, x, ids)
    whole = faiss.downcast_index(index)  # owns nothing: `index` must live on
    ivf = _ivf_of(whole, ids is not None) if engine_searches(x) else None
    with calls_are_faisss():
        if ivf is None or not engine_adds(x, ivf.nlist):
            trace.left_to_faiss("few rows, or lists that the engine cannot find")
            _add_by_faiss(whole, x, ids)
            return
        steps = _steps(whole, x, ids, device)
        with uninterrupted():
            for step in steps:
                step()


def _checked(index, x, ids):
    x = as_finite_floats(x, index.d)
    if ids is not None:
        ids = np.ascontiguousarray(ids, dtype="int64")
        if ids.shape != (len(x),):
            raise InvalidShape(f"ids has shape {ids.shape}, expected ({len(x)},)")
    if not index.is_trained:
        raise InvalidArgument("index is not trained (is_trained=False)")
    return x, ids


def _ivf_of(index, with_ids):
    """The inverted file that rows end in, if the engine can find their lists; else None."""
    adding = cpp_class(index, "add_with_ids")
    if adding == "IndexPreTransform" or (adding in _MAPS and with_ids):
        return _ivf_of(faiss.downcast_index(index.index), with_ids and adding not in _MAPS)
    if not with_ids and cpp_class(index, "add") == "IndexRefine":
        return _ivf_of(faiss.downcast_index(index.base_index), False)
    if adding in _BY_ADD_CORE and engine_metric(quantizer_of(index)) is not None:
        return index
    return None


def _add_by_faiss(index, x, ids):
    if ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)


def _steps(index, x, ids, device):
    """Functions that add the rows, to be called one after the other.

    What takes long, or is stopped by Ctrl-C, is done when this returns.
    """
    index = faiss.downcast_index(index)
    adding = cpp_class(index, "add_with_ids")
    if adding == "IndexPreTransform":
        for i, transform in enumerate(transforms_of(index)):
            x = transform.apply(x)
            check_finite(x, f"x behind chain[{i}]")
        steps = _steps(index.index, x, ids, device)
        return [*steps, partial(_count_as, index, index.index)]
    if adding in _MAPS and ids is not None:
        return [*_steps(index.index, x, None, device), partial(_map_ids, index, x, ids)]
    if ids is None and cpp_class(index, "add") == "IndexRefine":
        steps = [*_steps(index.base_index, x, None, device)]
        steps += _steps(index.refine_index, x, None, device)
        return [*steps, partial(_count_as, index, index.refine_index)]
    if _ivf_of(index, ids is not None) is not None:
        return [_step_of_ivf(index, x, ids, device)]
    return [partial(_add_by_faiss, index, x, ids)]


def _step_of_ivf(ivf, x, ids, device):
    lists = assign_lists(quantizer_of(ivf), x, device)
    if encodes(ivf):
        return partial(ivf.add_sa_codes, codes_of(ivf, x, lists, device), ids)

    def add_core():
        pointer = None if ids is None else faiss.swig_ptr(ids)
        ivf.add_core(len(x), faiss.swig_ptr(x), pointer, faiss.swig_ptr(lists))

    return add_core


def _count_as(outer, inner):
    outer.ntotal = inner.ntotal


def _map_ids(index, x, ids):
    """The map's own part of add_with_ids(), when its index has the rows already.

    It runs over vectors of no columns, whose adding does nothing but count.
    """
    filled = index.index
    counter = faiss.IndexFlat(0)
    counter.ntotal = filled.ntotal - len(ids)
    index.index = counter
    try:
        index.add_with_ids(x, ids)
    finally:
        index.index = filled
        counter.this.own(True)  # the map has taken it, for good as SWIG thinks
