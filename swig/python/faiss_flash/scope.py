"""Which calls of faiss's own methods go through the engine: decided anew at each call."""

import contextlib
import threading
from contextlib import contextmanager
from typing import NamedTuple

from . import swig_engine


class Service(NamedTuple):
    """How the engine serves a call."""

    device: str  #: where it runs: "auto", "cpu", "cuda", "cuda:1"
    algorithm: str  #: of k-means: "lloyd", "e_means", or "default", as FAISS_FLASH_ALGORITHM says

    def is_by_e_means(self):
        """Raises InvalidArgument, a ValueError, for an algorithm that there is not."""
        return swig_engine.algorithm_named(str(self.algorithm)) == swig_engine.Algorithm_e_means

    def checked(self):
        """Itself; raises InvalidArgument for an algorithm that there is not."""
        self.is_by_e_means()
        return self


class _Thread(threading.local):
    busy = False  # the engine itself is calling: what it calls is faiss's
    service = None  # of on_engine()


_thread = _Thread()
_patches = []  # of patch(), the last one is in force


class OnEngine:
    """A base of classes whose objects are always served by the engine."""

    served_by_engine = True
    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"
    algorithm = "default"  #: of its k-means: "lloyd", "e_means"


def serve(target, service):
    """From now on the methods of this object are served by the engine in this way."""
    # faiss 1.15 refuses new attributes
    vars(target).update(service.checked()._asdict(), served_by_engine=True)


def is_served(target):
    """Whether it, or what it was made of, is always served: accelerated, or of a class of ours."""
    return _served(target) is not None


def service_of(target):
    """How the engine serves a call of a method of this object; None: the call is faiss's."""
    if _thread.busy:
        return None
    if _thread.service is not None:
        return _thread.service
    served = _served(target)
    if served is not None:
        return Service(served.device, served.algorithm)
    try:
        return _patches[-1].service
    except IndexError:  # not patched, or not any more: another thread may have ended it
        return None


def _served(target):
    """The object itself, or one that it was made of, if it is always served."""
    if getattr(target, "served_by_engine", False):
        return target
    for part in vars(target).get("referenced_objects", ()):
        found = _served(part) if hasattr(part, "this") else None
        if found is not None:
            return found
    return None


@contextmanager
def calls_are_faisss():
    """Within it this thread's calls of faiss's methods are faiss's: those of the engine itself."""
    before = _thread.busy
    _thread.busy = True
    try:
        yield
    finally:
        _thread.busy = before


@contextmanager
def on_engine(service):
    """Within it the engine serves what this thread calls."""
    before = _thread.service
    _thread.service = service
    try:
        yield
    finally:
        _thread.service = before


class Patch:
    """One patch() in force; as a context manager it is taken back at the end."""

    def __init__(self, service):
        self.service = service.checked()
        _patches.append(self)

    def __enter__(self):
        if self not in _patches:  # a second time
            _patches.append(self)
        return self

    def __exit__(self, *error):
        with contextlib.suppress(ValueError):  # unpatch() has taken it back
            _patches.remove(self)


def unpatch():
    """Takes the last patch() back that is in force; does nothing where there is none.

    Objects that are accelerated, and classes of faiss_flash, stay on the engine.
    """
    with contextlib.suppress(IndexError):
        _patches.pop()
