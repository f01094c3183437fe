"""flash-kmeans on the rows of bench_gpu: its assignment and update kernels (medians of the device's
time), and whole iterations (wall clock of 22 less that of 2, over 20).

Needs torch with CUDA and flash_kmeans. Run it beside bench_gpu, on the same card. The kinds are
assign, update, iteration, assign_f32 and iteration_f32, the last two by its tf32 path.
Usage: flash_kmeans_gpu.py [kind ...]
"""

import statistics
import sys
import time

import torch
from flash_kmeans import batch_kmeans_Euclid
from flash_kmeans.assign_euclid_triton import euclid_assign_triton
from flash_kmeans.centroid_update_triton import triton_centroid_update_sorted_euclid

ASSIGN_SHAPES = [
    (1, 1 << 20, 8192, 128),
    (1, 8 << 20, 1024, 128),
    (1, 1 << 20, 65536, 128),
    (1, 1 << 20, 8192, 32),
    (1, 1 << 20, 8192, 64),
    (1, 1 << 20, 8192, 96),
    (1, 1 << 20, 8192, 256),
    (1, 1 << 20, 8192, 768),
    (1, 256 << 10, 8192, 1024),
    (32, 65536, 1024, 128),
    (16, 65536, 256, 8),
    (1, 4 << 20, 256, 16),
]
UPDATE_SHAPES = [
    (1, 33 << 20, 4096, 128),
    (1, 8 << 20, 1024, 128),
    (1, 1 << 20, 8192, 128),
    (1, 1 << 20, 65536, 128),
    (32, 65536, 1024, 128),
    (1, 1 << 20, 8192, 768),
]
ITERATION_SHAPES = [
    (1, 8 << 20, 1024, 128),
    (1, 1 << 20, 8192, 128),
    (1, 1 << 20, 65536, 128),
    (1, 1 << 20, 1024, 128),
    (1, 128 << 10, 1024, 128),
    (32, 65536, 1024, 128),
    (8, 4096, 64, 128),
]


F32_SHAPES = [(1, 1 << 20, 8192, 128), (1, 8 << 20, 1024, 128), (1, 256 << 10, 8192, 768)]


def normal(*shape, dtype=torch.float16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def median_ms(call, repeats=15):
    times = []
    for i in range(repeats + 3):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        if i >= 3:
            times.append(start.elapsed_time(stop))
    return statistics.median(times)


def assign(b, n, k, d, dtype=torch.float16):
    x = normal(b, n, d, dtype=dtype)
    centroids = normal(b, k, d, dtype=dtype)
    norms = torch.stack([(row.float() ** 2).sum(-1) for row in x])
    centroid_norms = (centroids.float() ** 2).sum(-1)
    out = torch.empty(b, n, device="cuda", dtype=torch.int32)
    return median_ms(lambda: euclid_assign_triton(x, centroids, norms, out, centroid_norms))


def update(b, n, k, d, dtype=torch.float16):
    x = normal(b, n, d, dtype=dtype)
    centroids = normal(b, k, d, dtype=dtype)
    ids = torch.randint(0, k, (b, n), device="cuda", dtype=torch.int32)
    return median_ms(lambda: triton_centroid_update_sorted_euclid(x, ids, centroids))


def iteration(b, n, k, d, repeats=3, dtype=torch.float16):
    x = normal(b, n, d, dtype=dtype)

    def seconds(iterations):
        torch.cuda.synchronize()
        start = time.perf_counter()
        batch_kmeans_Euclid(x, k, max_iters=iterations, tol=-1.0)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(2)
    return statistics.median((seconds(22) - seconds(2)) / 20 * 1e3 for _ in range(repeats))


def main():
    kinds = sys.argv[1:] or ["assign", "update", "iteration"]
    rows = {
        "assign": [(assign, ASSIGN_SHAPES)],
        "update": [
            (update, UPDATE_SHAPES),
            (lambda *shape: update(*shape, dtype=torch.float32), UPDATE_SHAPES[1:2]),
        ],
        "iteration": [(iteration, ITERATION_SHAPES)],
        "assign_f32": [(lambda *shape: assign(*shape, dtype=torch.float32), F32_SHAPES)],
        "iteration_f32": [(lambda *shape: iteration(*shape, dtype=torch.float32), F32_SHAPES[:2])],
    }
    for kind in kinds:
        for measure, shapes in rows[kind]:
            for shape in shapes:
                b, n, k, d = shape
                ms = measure(*shape)
                print(f"flash-kmeans {kind} B{b}/N{n}/K{k}/d{d} {ms:.3f} ms", flush=True)


if __name__ == "__main__":
    main()
