"""What faiss_flash raises: each is also what faiss raises in the same place.

FAISS's C++ raises RuntimeError, its Python asserts shapes, numpy raises ValueError: code written
for any of them goes on working.
"""


class InvalidArgument(ValueError, RuntimeError):
    """An argument was rejected; the text names it and its value."""


class InvalidShape(InvalidArgument, AssertionError):
    """An array has another shape than the one expected."""


class NotFinite(InvalidArgument):
    """An array has a NaN or an Inf; the text names the first."""


class OutOfDeviceMemory(MemoryError, RuntimeError):
    """A GPU's memory did not suffice, and the CPU could not take over."""
