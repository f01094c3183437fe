"""From how many rows on the engine finds their nearest vectors faster than faiss does."""

import numpy as np

# The engine reads and packs all k vectors once a call, which costs as much as comparing 60 to 500
# rows with them, and wakes threads of its own. Processor time of faiss by that of the engine, one
# thread of an AMD EPYC, medians of 5 to 25 calls in turn; k = 4096, PyPI's 1.15.1 | Debian's 1.7.3:
#
#     rows      1            32           128          512         1024
#     d = 32    0.05 | 0.13  0.8 | 0.4    2.0 | 0.9    3.6 | 1.6   3.7 | 1.7
#     d = 128   0.06 | 0.17  0.5 | 0.3    1.3 | 0.6    2.4 | 0.9   0.7 | 1.1
#     d = 768   0.05 | 0.13  0.7 | 0.2    2.4 | 0.4    0.5 | 0.5   0.5 | 0.6
#
# With both threads of that machine, where faiss's BLAS gains little, at 512 rows: 1.7 | 7.9,
# 1.9 | 3.5 and, at d = 768, 1.1 | 4.2 (k = 256); at 128 rows 0.3, 0.2 and 1.4 beside 1.15.1.
_ROWS = 512  # and 4 d, as in faiss_flash/plugin/flat_index.cpp
# rows * k * d: as above, for whole adds, d = 64, beside 1.15.1: to IVF64,Flat 0.78 at 1000 rows and
# 0.75 at 4000, to IVF256,Flat 1.4 at 1000.
_WORK = 1 << 24
_FEW_VALUES = 8192
_FLOAT32 = np.dtype("float32")  # one object in all of numpy


def few_and_plain(x, d):
    """Whether a numpy array has few rows of d float32, packed, whose squares float32 holds also
    added up: no NaN's are so. Few steps, as the calls that ask take a microsecond themselves."""
    if x.dtype is not _FLOAT32 or x.ndim != 2 or not 0 < x.size < _FEW_VALUES:
        return False
    rows, columns = x.shape
    if columns != d or rows >= _ROWS or not x.flags.c_contiguous:
        return False
    values = x.ravel().astype(np.float64)
    return values.dot(values) < 2.0**124 / d


def engine_searches(x):
    """False where a search of rows x (n, d), finite, is left to faiss."""
    return len(x) >= max(_ROWS, 4 * x.shape[1]) or beyond_float32(x)


def engine_adds(x, k):
    """False where finding the lists of rows x (n, d) among k is left to faiss."""
    return engine_searches(x) and (x.size * k >= _WORK or beyond_float32(x))


def beyond_float32(x):
    """Whether the squared distances of rows may be: faiss finds nothing near such rows then."""
    n, d = x.shape
    return n > 0 and max(x.max(), -x.min()) > 2.0**62 / d**0.5
