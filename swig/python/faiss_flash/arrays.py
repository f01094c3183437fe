"""Arrays as the engine's vector views."""

import numpy as np

from . import swig_engine
from .errors import InvalidArgument, InvalidShape, NotFinite

_DTYPES = {
    "float32": swig_engine.DType_f32,
    "float16": swig_engine.DType_f16,
    "bfloat16": swig_engine.DType_bf16,
    "uint8": swig_engine.DType_u8,
    "int8": swig_engine.DType_i8,
}


# numpy takes microseconds to make the name of a dtype: the usual one is compared instead.
_FLOAT32 = np.dtype("float32")

_CUDA_DTYPES = {
    "<f4": "float32",
    "<f2": "float16",
    "<V2": "bfloat16",  # torch's name for it
    "|u1": "uint8",
    "|i1": "int8",
}


def dtype_code(dtype):
    """The engine's number of a type, given as numpy's or by its name."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in _DTYPES:
        raise InvalidArgument(f"dtype={dtype!r} is not one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _code_of(dtype):
    """The engine's number of a numpy dtype, or None."""
    return swig_engine.DType_f32 if dtype == _FLOAT32 else _DTYPES.get(dtype.name)


class CudaRows:
    """The rows of a CUDA array of two dimensions, as far as numpy's arrays are asked for here."""

    def __init__(self, owner, address, shape, strides, dtype_name, stream):
        self.owner = owner  # keeps the memory alive
        self.address = address
        self.shape = shape
        self.strides = strides
        self.dtype_name = dtype_name
        self.stream = stream  # the one whose work makes the rows; None: not known

    def __len__(self):
        return self.shape[0]


def _cuda_rows(x, name, dimensions):
    """The CudaRows of a CUDA array of two or three dimensions: a list of them."""
    interface = x.__cuda_array_interface__
    shape, typestr = tuple(interface["shape"]), interface["typestr"]
    if len(shape) != dimensions:
        expected = "(n, d)" if dimensions == 2 else "(B, n, d)"
        raise InvalidShape(f"{name} has shape {shape}, expected {expected}")
    if typestr not in _CUDA_DTYPES:
        raise InvalidArgument(f"{name} is a CUDA array of type {typestr!r}, which is not supported")
    size = int(typestr[2:])
    strides = interface.get("strides")
    if strides is None:
        strides = tuple(size * int(np.prod(shape[i + 1 :])) for i in range(dimensions))
    if shape[-1] > 1 and strides[-1] != size or shape[-2] > 1 and strides[-2] < size * shape[-1]:
        raise InvalidArgument(
            f"{name} is a CUDA array with strides {strides}: rows must be contiguous"
        )
    address = interface["data"][0]
    stream = interface.get("stream")
    batch = shape[0] if dimensions == 3 else 1
    return [
        CudaRows(
            x, address + b * strides[0], shape[-2:], strides[-2:], _CUDA_DTYPES[typestr], stream
        )
        for b in range(batch)
    ]


def _of_dimensions(x, dimensions, name):
    """x as numpy's array of 2 or 3 dimensions."""
    expected = "(n, d)" if dimensions == 2 else "(B, n, d)"
    if x is None:
        raise InvalidShape(f"{name} is None, expected an {expected} array")
    x = np.asarray(x)
    if x.ndim != dimensions:
        raise InvalidShape(f"{name} has shape {x.shape}, expected {expected}")
    return x


def _floats(x, name):
    if x.dtype.kind not in "biufO" and x.dtype.name not in _DTYPES:
        raise InvalidArgument(f"{name} has dtype {x.dtype}, which is not a real number type")
    try:
        return np.ascontiguousarray(x, dtype=np.float32)
    except (TypeError, ValueError) as error:  # objects
        raise InvalidArgument(f"{name} cannot be cast to float32: {error}") from error


def as_floats(x, d, name="x"):
    """x as a contiguous (n, d) float32 array."""
    x = _of_dimensions(x, 2, name)
    if x.shape[1] != d:
        raise InvalidShape(
            f"{name} has shape {x.shape}, expected (n, {d}): {x.shape[1]} columns, not d={d}"
        )
    return _floats(x, name)


def check_finite(rows, name):
    """Raises NotFinite naming the first NaN or Inf of as_rows() or as_floats()."""
    few = 4096  # numbers that numpy is through with before the engine has begun
    host = isinstance(rows, np.ndarray)
    if not (host and rows.size <= few and rows.dtype == _FLOAT32 and np.isfinite(rows).all()):
        try:
            swig_engine.check_finite(view_of(rows), name)
        except InvalidArgument as error:
            raise NotFinite(str(error)) from None


def as_batch(x, name):
    """The problems of a 3-D array, of numpy's or of CUDA's: something as_rows() takes, for each."""
    if hasattr(x, "__cuda_array_interface__"):
        return _cuda_rows(x, name, 3)
    return _of_dimensions(x, 3, name)


def as_rows(x, name):
    """`x` as a 2-D array that the engine can read in place.

    An object with __cuda_array_interface__ (of torch, cupy, numba) stays where it is.

    float32, float16, bfloat16 (of ml_dtypes), uint8 and int8 arrays are not copied if their rows
    are contiguous, whatever the distance between rows; anything else becomes float32.
    """
    if isinstance(x, CudaRows):
        return x
    if hasattr(x, "__cuda_array_interface__"):
        return _cuda_rows(x, name, 2)[0]
    x = _of_dimensions(x, 2, name)
    if _code_of(x.dtype) is None or not x.dtype.isnative:
        return _floats(x, name)
    n, d = x.shape
    contiguous_rows = d <= 1 or x.strides[1] == x.itemsize
    if not contiguous_rows or (n > 1 and x.strides[0] < d * x.itemsize):
        return np.ascontiguousarray(x)
    return x


def view_of(rows):
    """The engine's view of an array from as_rows(), which must outlive it."""
    n, d = rows.shape
    stride = rows.strides[0] if n > 1 else 0
    if isinstance(rows, CudaRows):
        dtype, address = _DTYPES[rows.dtype_name], rows.address
        space = swig_engine.MemorySpace_device
        return swig_engine.make_view(address, n, d, stride, dtype, space, rows.stream or 0)
    return swig_engine.make_view(
        rows.ctypes.data, n, d, stride, _code_of(rows.dtype), swig_engine.MemorySpace_host
    )


def as_weights(weights, n):
    """`weights` as an (n, 1) float32 array."""
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    if weights.shape != (n,):
        raise InvalidShape(f"weights has shape {weights.shape}, expected ({n},)")
    return weights.reshape(n, 1)
