"""Data that the tests share, and a runner for code in a process of its own."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import faiss_flash

if os.environ.get("FAISS_FLASH_TEST_CLASSES") == "portable":
    faiss_flash.faiss_classes = lambda: importlib.import_module("faiss_flash.portable")


def mixture(n, d, centers, seed, spread=0.5):
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centers, d))
    x = middle[rng.integers(centers, size=n)] + spread * rng.standard_normal((n, d))
    return x.astype("float32")


def descriptors(n, d, seed, offset=0):
    """Non-negative integers with many zeros, like gradient histograms."""
    rng = np.random.default_rng(seed)
    return (np.minimum(255, np.floor(rng.gamma(0.6, 40, size=(n, d)))) + offset).astype("float32")


def run_python(code, interrupt_after=None, timeout=120, **environment):
    """Run code in a fresh interpreter; returns (returncode, out, err). One that hangs is killed.

    interrupt_after: seconds from the line "started" that it prints to the Ctrl-C that it gets.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        if interrupt_after is not None:
            assert process.stdout.readline().strip() == "started", process.stderr.read()
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=timeout)
    finally:  # with what it has forked
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, out, err


@pytest.fixture(scope="session")
def python():
    return run_python
