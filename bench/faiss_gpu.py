"""An iteration of stock FAISS's clustering on the GPU beside ours: float32 in host memory, exact.

Needs a faiss with GPU support. Times are between the first and the last iteration of one run, by
the statistics of each; ours runs before and after stock's.
"""

import faiss
import numpy as np

import faiss_flash

SHAPES = [(1 << 20, 8192, 6), (8 << 20, 1024, 4)]
OUR_ITERATIONS = 21


def per_iteration_ms(times):
    return (times[-1] - times[0]) / (len(times) - 1) * 1e3


def stock(x, k, niter):
    d = x.shape[1]
    clustering = faiss.Clustering(d, k)
    clustering.niter = niter
    clustering.max_points_per_centroid = 10**9
    clustering.min_points_per_centroid = 1
    clustering.train(x, faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), d))
    stats = clustering.iteration_stats
    return per_iteration_ms([stats.at(i).time for i in range(stats.size())])


def ours(x, k):
    result = faiss_flash.kmeans(
        x,
        k,
        niter=OUR_ITERATIONS,
        max_points_per_centroid=-1,
        min_points_per_centroid=1,
        early_stop_threshold=None,
    )
    return per_iteration_ms([stats["time"] for stats in result.iteration_stats])


def main():
    print(f"faiss {faiss.__version__}, {faiss.get_num_gpus()} GPUs")
    for n, k, niter in SHAPES:
        x = np.random.default_rng(1).standard_normal((n, 128), dtype="float32")
        before = ours(x, k)
        theirs = stock(x, k, niter)
        after = ours(x, k)
        ratio = theirs / max(before, after)
        print(
            f"N={n} K={k}: faiss {theirs:.1f} ms, faiss_flash {before:.2f} and {after:.2f} ms, "
            f"ratio {ratio:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
