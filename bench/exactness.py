"""Ids that differ from float64's over many data sets, beside flash-kmeans's: counts of one run.

Needs torch with CUDA and flash_kmeans. Every data set has 2.5 million points; the truth is the
argmin of float64 distances of centred values, by torch.
"""

import sys
import time

import numpy as np
import torch
from flash_kmeans.assign_euclid_triton import euclid_assign_triton

import faiss_flash

N = 2_500_000


def normal(n, d, seed, mean=0.0, spread=1.0):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(n, d, device="cuda", generator=generator) * spread + mean


def mixture(n, d, centers, spread, seed):
    middle = normal(centers, d, seed)
    return middle[torch.arange(n, device="cuda") % centers] + normal(n, d, seed + 1, 0, spread)


def datasets():
    """(name, points, centroids)."""
    for d in (4, 8, 16, 32, 64, 96, 128, 256):
        x = normal(N, d, d)
        yield f"normal d={d}", x, x[:1024].clone()
    for k in (256, 4096, 8192):
        x = normal(N, 128, k)
        means = x[: 64 * k].view(k, 64, 128).mean(1) if 64 * k <= N else x[:k].clone()
        yield f"normal d=128 K={k}, means of 64", x, means
    x = normal(N, 64, 1)
    yield "offset 1000", x + 1000, x[:1024] + 1000
    yield "mean 1e4, spread 1e-2", x * 1e-2 + 1e4, x[:1024] * 1e-2 + 1e4
    yield "spread 1e-4 around 1", x * 1e-4 + 1, x[:1024] * 1e-4 + 1
    yield "1e-30", x * 1e-30, x[:1024] * 1e-30
    yield "1e15", x * 1e15, x[:1024] * 1e15
    dominated = x.clone()
    dominated[:, 3] *= 1e5
    yield "one column dominates", dominated, dominated[:1024].clone()
    x = mixture(N, 96, 5000, 0.3, 2)
    yield "mixture d=96", x, x[:1024].clone()
    x = mixture(N, 32, 1000, 1e-3, 3)
    yield "tight mixture d=32", x, x[:1000].clone()
    x = torch.nn.functional.normalize(normal(N, 128, 4))
    yield "unit length d=128", x, x[:1024].clone()
    x = normal(N, 48, 5).clamp(-127, 127).mul(30).round()
    yield "integers d=48", x, normal(1024, 48, 6, 0, 30)
    x = normal(N, 24, 7)
    yield "duplicated centroids", x, torch.cat([x[:500], x[:500]])
    x = normal(512, 64, 8)
    pairs = torch.randint(0, 512, (2, N), device="cuda")
    tilt = torch.ldexp(torch.ones(N, device="cuda"), -(torch.arange(N, device="cuda") % 30))
    ties = (x[pairs[0]] + x[pairs[1]]) / 2 + tilt[:, None] * (x[pairs[0]] - x[pairs[1]])
    yield "between two centroids", ties, x
    if len(sys.argv) > 1:
        x = torch.from_numpy(np.load(sys.argv[1])).cuda().float()
        yield "descriptors", x, x[:: len(x) // 1024][:1024].clone() + 0.25


def truth(x, centroids):
    """Float64 argmin, ties to the lowest id."""
    mean = centroids.double().mean(0)
    c = centroids.double() - mean
    half = c.square().sum(1) / 2
    ids = []
    for rows in x.split(1 << 17):
        scores = half - (rows.double() - mean) @ c.T
        lowest = scores.min(1, keepdim=True).values
        ids.append((scores == lowest).int().argmax(1))
    return torch.cat(ids)


def wrong(ids, x, centroids, expected):
    """Rows whose centroid is farther than the truth's by more than float64's own rounding."""
    rows = (ids != expected).nonzero()[:, 0]
    if len(rows) == 0:
        return 0
    points = x[rows].double()
    mine = (points - centroids[ids[rows]].double()).square().sum(1)
    theirs = (points - centroids[expected[rows]].double()).square().sum(1)
    return int((mine > theirs * (1 + 1e-13)).sum())


def flash(x, centroids):
    try:
        norms = x.square().sum(1)[None]
        ids = torch.empty(1, len(x), device="cuda", dtype=torch.int32)
        euclid_assign_triton(x[None], centroids[None].contiguous(), norms, ids)
        return ids[0].long()
    except Exception as error:  # a shape that it does not take
        print(f"  flash-kmeans: {error}")
        return None


def main():
    points = ours_wrong = flash_wrong = 0
    for name, values, centroids in datasets():
        x = values.contiguous()
        start = time.perf_counter()
        _, ids = faiss_flash.assign(x, centroids.cpu().numpy())
        seconds = time.perf_counter() - start
        expected = truth(x, centroids)
        mine = wrong(torch.from_numpy(ids).cuda(), x, centroids, expected)
        theirs = flash(x, centroids)
        theirs = wrong(theirs, x, centroids, expected) if theirs is not None else 0
        points += len(x)
        ours_wrong += mine
        flash_wrong += theirs
        shape = f"{len(x)} x {x.shape[1]}, K={len(centroids)}"
        print(
            f"{name:36s} {shape:28s} ours {mine} flash-kmeans {theirs} ({seconds:.2f} s)",
            flush=True,
        )
    print(f"{points} points: ours {ours_wrong}, flash-kmeans {flash_wrong}")


if __name__ == "__main__":
    main()
