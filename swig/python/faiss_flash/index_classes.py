"""Indexes whose own methods go through the engine."""

import faiss
import numpy as np

from .few_rows import all_for_faiss
from .filling import add
from .parts import require_index
from .signatures import asks_for_more
from .training import train


class EngineIndex:
    """What an index of faiss becomes: train and add go through the engine."""

    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"

    def train(self, x, *args, **options):
        """train(index, x); with more arguments than x, faiss's own."""
        if asks_for_more(super().train, (x, *args), options, 1):
            super().train(x, *args, **options)
        else:
            train(self, x, self.device)

    def add(self, x, *args, **options):
        """add(index, x); with more arguments than x, faiss's own."""
        few = self.is_trained and all_for_faiss(x, self.d)
        if few or asks_for_more(super().add, (x, *args), options, 1):
            super().add(x, *args, **options)
        else:
            add(self, x, None, self.device)

    def add_with_ids(self, x, ids, *args, **options):
        """add(index, x, ids); with more arguments than these, faiss's own."""
        few = self.is_trained and all_for_faiss(x, self.d) and np.shape(ids) == (len(x),)
        if few or asks_for_more(super().add_with_ids, (x, ids, *args), options, 2):
            super().add_with_ids(x, ids, *args, **options)
        else:
            add(self, x, ids, self.device)

    def __reduce__(self):  # for pickle and copy: the class itself has no name in a module
        return _unpickled, (faiss.serialize_index(self), self.device)


def _unpickled(data, device):
    return accelerate(faiss.deserialize_index(data), device)


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
    require_index(index)
    index.__class__ = engine_class(type(index))
    index.device = device
    return index


def index_factory(d, description, metric=faiss.METRIC_L2, *args, device="auto"):
    """faiss.index_factory(), accelerated; args: what this version of it has more."""
    return accelerate(faiss.index_factory(d, description, metric, *args), device)
