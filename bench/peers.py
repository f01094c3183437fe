"""The clusterings that compare.py measures, and the process that each of them runs in.

A peer is a class listed in PEERS. version() says what it is and raises ImportError where it is not
installed; train(x, k, niter, seed) clusters all rows of x by niter Lloyd iterations from k of its
rows, keeps the centroids (k, d) float32 as .centroids; assign(rows) returns their ids by the peer's
own search.

A peer has a process, and possibly a Python, of its own: no two libraries share threads or memory,
peak memory is each one's, and a crash is one peer's. Requests and answers are lines of JSON.
"""

import json
import sys
import time

import numpy as np
from memory import PeakMemory


class FaissFlash:
    def version(self):
        import faiss_flash

        return f"{faiss_flash.__version__} ({faiss_flash.available_backends()[0]})"

    def train(self, x, k, niter, seed):
        import faiss_flash

        self.centroids = faiss_flash.kmeans(
            x,
            k,
            niter=niter,
            seed=seed,
            max_points_per_centroid=-1,
            min_points_per_centroid=1,
            early_stop_threshold=None,
        ).centroids

    def assign(self, rows):
        import faiss_flash

        return faiss_flash.assign(rows, self.centroids)[1]


class Faiss:
    def version(self):
        import faiss

        return faiss.__version__

    def train(self, x, k, niter, seed):
        import faiss

        clustering = faiss.Clustering(x.shape[1], k)
        clustering.niter = niter
        clustering.seed = seed
        clustering.max_points_per_centroid = len(x)
        clustering.min_points_per_centroid = 1
        self.index = faiss.IndexFlatL2(x.shape[1])
        clustering.train(x, self.index)
        self.centroids = faiss.vector_to_array(clustering.centroids).reshape(k, -1)

    def assign(self, rows):
        return self.index.search(rows, 1)[1].ravel()


class FaissSuperKmeans:
    """FAISS's own faster class, from 1.14.2 on; prunes dimensions, exact up to rounding."""

    def version(self):
        import faiss

        if not hasattr(faiss, "SuperKmeans"):
            raise ImportError(f"faiss {faiss.__version__} has no SuperKmeans")
        return faiss.__version__

    def train(self, x, k, niter, seed):
        import faiss

        kmeans = faiss.SuperKmeans(x.shape[1], k, niter=niter, seed=seed)
        kmeans.cp.max_points_per_centroid = len(x)
        kmeans.cp.min_points_per_centroid = 1
        kmeans.train(x)
        self.centroids = kmeans.centroids

    def assign(self, rows):
        import faiss

        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(self.centroids)
        return index.search(rows, 1)[1].ravel()


class ScikitLearn:
    def version(self):
        import sklearn

        return sklearn.__version__

    def train(self, x, k, niter, seed):
        from sklearn.cluster import KMeans

        first = x[np.random.default_rng(seed).permutation(len(x))[:k]]
        self.model = KMeans(k, init=first, n_init=1, max_iter=niter, tol=0, algorithm="lloyd")
        self.model.fit(x)
        self.centroids = self.model.cluster_centers_.astype("float32")

    def assign(self, rows):
        return self.model.predict(rows)


PEERS = {
    "faiss_flash": FaissFlash,
    "faiss": Faiss,
    "faiss.SuperKmeans": FaissSuperKmeans,
    "scikit-learn": ScikitLearn,
}


class Worker:
    """What a peer's process does; every method answers one request."""

    def __init__(self, name):
        self.peer = PEERS[name]()

    def load(self, path):
        version = self.peer.version()
        self.x = np.load(path)
        # A first small call starts threads and libraries outside of what is measured.
        self.peer.train(np.ascontiguousarray(self.x[:256]), 4, 1, 1)
        return version

    def train(self, k, niter, seed):
        with PeakMemory() as memory:
            start = time.perf_counter()
            self.peer.train(self.x, k, niter, seed)
            seconds = time.perf_counter() - start
        return {"seconds": seconds, "peak_mib": memory.mib}

    def save(self, rows, centroids_path, ids_path):
        np.save(centroids_path, self.peer.centroids)
        np.save(ids_path, self.peer.assign(self.x[:rows]))


def main():
    worker = Worker(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:  # whatever it raises is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
