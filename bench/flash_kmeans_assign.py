"""flash-kmeans's assignment kernel on the rows of bench_gpu: medians of the device's time.

Needs torch with CUDA and flash_kmeans. Run it beside bench_gpu, on the same card.
"""

import statistics

import torch
from flash_kmeans.assign_euclid_triton import euclid_assign_triton

SHAPES = [
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


def measure(b, n, k, d, repeats=15):
    x = torch.randn(b, n, d, device="cuda", dtype=torch.float16)
    centroids = torch.randn(b, k, d, device="cuda", dtype=torch.float16)
    norms = torch.stack([(row.float() ** 2).sum(-1) for row in x])
    centroid_norms = (centroids.float() ** 2).sum(-1)
    out = torch.empty(b, n, device="cuda", dtype=torch.int32)
    times = []
    for i in range(repeats + 3):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        euclid_assign_triton(x, centroids, norms, out, centroid_norms)
        stop.record()
        stop.synchronize()
        if i >= 3:
            times.append(start.elapsed_time(stop))
    return statistics.median(times)


def main():
    for shape in SHAPES:
        b, n, k, d = shape
        print(f"flash-kmeans B{b}/N{n}/K{k}/d{d} {measure(*shape):.3f} ms", flush=True)


if __name__ == "__main__":
    main()
