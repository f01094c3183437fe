"""FAISS_FLASH_TRACE=1: a line on stderr for each call that could go through the engine."""

import os
import sys
import threading
import time
from contextlib import contextmanager

from . import swig_engine

ENABLED = os.environ.get("FAISS_FLASH_TRACE", "0") not in ("", "0")


class _Thread(threading.local):
    ran = ()  # what the engine has run in the call that is traced
    reasons = ()  # why something was left to faiss


_thread = _Thread()


def ran(what):
    """Within a traced call: the engine has run this."""
    if ENABLED:
        _thread.ran = (*_thread.ran, what)


def left_to_faiss(reason):
    """Within a traced call: something was left to faiss."""
    if ENABLED and reason not in _thread.reasons:
        _thread.reasons = (*_thread.reasons, reason)


def _named(device):
    """What "auto" is here."""
    chosen = os.environ.get("FAISS_FLASH_DEVICE", "auto") if device == "auto" else device
    return swig_engine.available_backends()[0] if chosen == "auto" else chosen


@contextmanager
def line(target, method, x, device):
    """Prints the line of one call, made of what is said within it."""
    before = _thread.ran, _thread.reasons
    _thread.ran = _thread.reasons = ()
    start = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = None
    finally:
        seconds = time.perf_counter() - start
        parts = []
        if _thread.ran:
            parts.append(f"engine ({_named(device)}): " + ", ".join(_thread.ran))
        if _thread.reasons or not _thread.ran:
            parts.append("faiss: " + (", ".join(_thread.reasons) or "no k-means in it"))
        if outcome:
            parts.append(outcome)
        shape = " x ".join(str(size) for size in getattr(x, "shape", ()))
        name = f"{type(target).__name__}.{method}({shape})"
        print(f"faiss_flash: {name} {seconds:.4f} s; {'; '.join(parts)}", file=sys.stderr)
        _thread.ran, _thread.reasons = before
