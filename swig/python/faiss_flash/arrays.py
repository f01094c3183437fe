"""Arrays as the engine's vector views."""

import numpy as np

from . import swig_engine

_DTYPES = {
    "float32": swig_engine.DType_f32,
    "float16": swig_engine.DType_f16,
    "bfloat16": swig_engine.DType_bf16,
    "uint8": swig_engine.DType_u8,
    "int8": swig_engine.DType_i8,
}


def as_rows(x, name):
    """`x` as a 2-D array that the engine can read in place.

    float32, float16, bfloat16 (of ml_dtypes), uint8 and int8 arrays are not copied if their rows
    are contiguous, whatever the distance between rows; anything else becomes float32.
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {x.shape}, expected (n, d)")
    if x.dtype.name not in _DTYPES or not x.dtype.isnative:
        if not np.can_cast(x.dtype, np.float64):
            raise ValueError(f"{name} has dtype {x.dtype}, which is not a real number type")
        return np.ascontiguousarray(x, dtype=np.float32)
    n, d = x.shape
    contiguous_rows = d <= 1 or x.strides[1] == x.itemsize
    if not contiguous_rows or (n > 1 and x.strides[0] < d * x.itemsize):
        return np.ascontiguousarray(x)
    return x


def view_of(rows):
    """The engine's view of an array from as_rows(), which must outlive it."""
    n, d = rows.shape
    stride = rows.strides[0] if n > 1 else 0
    dtype = _DTYPES[rows.dtype.name]
    return swig_engine.make_view(rows.ctypes.data, n, d, stride, dtype)


def as_weights(weights, n):
    """`weights` as an (n, 1) float32 array."""
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    if weights.shape != (n,):
        raise ValueError(f"weights has shape {weights.shape}, expected ({n},)")
    return weights.reshape(n, 1)
