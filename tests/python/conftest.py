"""Data that the tests share, and a runner for code in a process of its own."""

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


def run_python(code, interrupt_after=None, **environment):
    """Run code in a fresh interpreter; returns its CompletedProcess-like (returncode, out, err)."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if interrupt_after is not None:
        assert process.stdout.readline().strip() == "started"
        time.sleep(interrupt_after)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="session")
def python():
    return run_python
