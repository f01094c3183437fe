"""The points of a case: the same values for every peer that asks in the same run.

Made on the GPU where there is one (torch), or else by numpy; host arrays are copies of the former.
"""

import pathlib

import numpy as np

SEED = 1
CENTERS = 4096  # of a mixture
SCORES = 1 << 26  # of float64 that are in memory at a time
SPREAD = 0.5  # of a mixture's points around their centers, whose own spread is 1


def gpu():
    """torch where it has a GPU, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def make(case, where, extra=0):
    """(batch, n + extra, d): a torch tensor on the "device", or a float32 array on the "host"."""
    if case.data not in ("normal", "mixture"):
        x = np.load(case.data, mmap_mode="r")
        if x.shape[0] < case.n + extra or x.shape[1] != case.d:
            raise ValueError(f"{case.data} has shape {x.shape}, the case is {case.shape}")
        x = np.ascontiguousarray(x[None, : case.n + extra], dtype="float32")
        return x if where == "host" else gpu().from_numpy(x).cuda().to(_torch_dtype(case))
    torch = gpu()
    shape = (case.batch, case.n + extra, case.d)
    if torch is None:
        if where == "device":
            raise RuntimeError("torch has no GPU")
        return _by_numpy(case.data, shape)
    generator = torch.Generator(device="cuda").manual_seed(SEED)
    dtype = _torch_dtype(case)
    x = torch.randn(shape, generator=generator, device="cuda", dtype=dtype)
    if case.data == "mixture":
        centers = torch.randn((CENTERS, case.d), generator=generator, device="cuda", dtype=dtype)
        ids = torch.randint(CENTERS, shape[:2], generator=generator, device="cuda")
        x.mul_(SPREAD)
        for problem, problem_ids in zip(x, ids):
            for rows, row_ids in zip(problem.split(1 << 20), problem_ids.split(1 << 20)):
                rows.add_(centers[row_ids])
    return x if where == "device" else x.float().cpu().numpy()


def _torch_dtype(case):
    return {"f32": gpu().float32, "f16": gpu().float16}[case.dtype]


def _by_numpy(data, shape):
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal(shape, dtype="float32")
    if data == "mixture":
        centers = rng.standard_normal((CENTERS, shape[2]), dtype="float32")
        x = SPREAD * x + centers[rng.integers(CENTERS, size=shape[:2])]
    return x


def index_sets(case, base_size, queries):
    """(train, base, queries) for an index: of a folder's .npy files, or made."""
    if case.data not in ("normal", "mixture"):
        folder = pathlib.Path(case.data)
        train, base, query = (
            np.load(folder / f"{name}.npy") for name in ("train", "base", "query")
        )
        return train, base, query[:queries]
    x = make(case, "host", extra=queries)[0]
    return x[: case.n], x[:base_size], x[case.n :]


def nearest_in_float64(rows, centroids):
    """(ids, squared distances) of rows (m, d) to their nearest centroid; ties to the lowest id."""
    together = max(1024, SCORES // len(centroids))
    parts = [
        _nearest_of_some(rows[first : first + together], centroids)
        for first in range(0, len(rows), together)
    ]
    return tuple(np.concatenate(found) for found in zip(*parts))


def _nearest_of_some(rows, centroids):
    torch = gpu()
    if torch is None:
        x, c = rows.astype("float64"), centroids.astype("float64")
        ids = ((c**2).sum(1) - 2 * x @ c.T).argmin(1)
        return ids, ((x - c[ids]) ** 2).sum(1)
    x, c = (torch.from_numpy(a).cuda().double() for a in (rows, centroids))
    ids = ((c**2).sum(1) - 2 * x @ c.T).argmin(1)
    return ids.cpu().numpy(), ((x - c[ids]) ** 2).sum(1).cpu().numpy()


def ground_truth(base, queries, k):
    """(q, k) ids of the exact nearest rows of base."""
    torch = gpu()
    if torch is None:
        import faiss

        return faiss.knn(queries, base, k)[1]
    b, q = (torch.from_numpy(np.ascontiguousarray(a)).cuda().double() for a in (base, queries))
    norms = (b**2).sum(1)
    found = [(norms - 2 * part @ b.T).topk(k, largest=False).indices for part in q.split(128)]
    return torch.cat(found).cpu().numpy()
