"""Which calls of faiss's own methods go through the engine: decided anew at each call."""

import contextlib
import threading
from contextlib import contextmanager


class _Thread(threading.local):
    busy = False  # the engine itself is calling: what it calls is faiss's
    device = None  # of on_engine()


_thread = _Thread()
_patches = []  # of patch(), the last one is in force


class OnEngine:
    """A base of classes whose objects are always served by the engine."""

    served_by_engine = True
    device = "auto"  #: where the engine runs: "cpu", "cuda", "cuda:1"


def serve(target, device):
    """From now on the methods of this object are served by the engine on this device."""
    vars(target).update(device=device, served_by_engine=True)  # faiss 1.15 refuses new attributes


def is_served(target):
    """Whether it, or what it was made of, is always served: accelerated, or of a class of ours."""
    return _served(target) is not None


def device_of(target):
    """Where the engine serves a call of a method of this object; None: the call is faiss's."""
    if _thread.busy:
        return None
    if _thread.device is not None:
        return _thread.device
    served = _served(target)
    if served is not None:
        return served.device
    try:
        return _patches[-1].device
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
def on_engine(device):
    """Within it the engine serves what this thread calls."""
    before = _thread.device
    _thread.device = device
    try:
        yield
    finally:
        _thread.device = before


class Patch:
    """One patch() in force; as a context manager it is taken back at the end."""

    def __init__(self, device):
        self.device = device
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
