"""What the machine can do at best, measured in the same run as the peers."""

import ctypes
import ctypes.util
import time

import numpy as np
import points


class Ceilings:
    """A worker's peer: the CPU's, and the GPU's where there is one."""

    def version(self):
        return ""

    def release(self):
        pass

    def all(self, _case):
        torch = points.gpu()
        return {**cpu_ceilings(), **(gpu_ceilings(torch) if torch else {})}


def gpu_ceilings(torch):
    """Products of 8192^3 in TFLOP/s, memory rates in GB/s."""
    m = 8192

    def tflops(dtype, tf32=False):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(m, m, device="cuda", dtype=dtype)
        out = torch.empty_like(a)
        return 2 * m**3 / _best_seconds(torch, lambda: torch.mm(a, a, out=out)) * 1e-12

    big = torch.empty(1 << 30, device="cuda", dtype=torch.int32)
    copy = torch.empty_like(big)
    pinned = torch.empty(1 << 28, dtype=torch.int32, pin_memory=True)
    return {
        "gpu": torch.cuda.get_device_name(),
        "gemm_f16_tflops": tflops(torch.float16),
        "gemm_tf32_tflops": tflops(torch.float32, True),
        "gemm_f32_tflops": tflops(torch.float32),
        "copy_gb_s": 8e-9 * (1 << 30) / _best_seconds(torch, lambda: copy.copy_(big)),
        "host_to_device_gb_s": 4e-9
        * (1 << 28)
        / _best_seconds(torch, lambda: big[: 1 << 28].copy_(pinned, non_blocking=True)),
    }


def _best_seconds(torch, call, repeats=15):
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1e-3)
    return min(times)


def cpu_ceilings():
    """The system's BLAS with its own threads: products of 16384 rows, 1024 centroids, d=128."""
    name = ctypes.util.find_library("openblas") or ctypes.util.find_library("blas")
    if name is None:
        return {}
    blas = ctypes.CDLL(name)
    n, k, d = 16384, 1024, 128
    x, c = (np.random.default_rng(1).random((rows, d), dtype="float32") for rows in (n, k))
    out = np.empty((n, k), dtype="float32")
    sizes = [ctypes.byref(ctypes.c_int(size)) for size in (k, n, d)]
    one, zero = (ctypes.byref(ctypes.c_float(value)) for value in (1, 0))
    a, b, to = (ctypes.c_void_p(array.ctypes.data) for array in (c, x, out))
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        blas.sgemm_(b"T", b"N", *sizes, one, a, sizes[2], b, sizes[2], zero, to, sizes[0])
        best = min(best, time.perf_counter() - start)
    return {"sgemm_tflops": 2e-12 * n * k * d / best}
