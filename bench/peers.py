"""The clusterings that run.py measures.

A peer is a class in PEERS (name: class). version() says what it is and raises ImportError where
it is not installed. prepare(case) gets the points (points.py); fit(k, niter) clusters them from
the first k points of each problem (whole calls: from points that the peer draws), by exactly niter
Lloyd iterations, and returns when all is done. centroids() are the first problem's (k, d) float32;
assign(rows) the ids of its first `rows` points by the peer's own search, or None where it has none.
Kinds of cases besides these (assign, update, io, ivf...) are methods of that name.
"""

import importlib.util
import os

import numpy as np
import points
from flash_peers import FlashKmeans, FlashLib, FlashLibCute, FlashLibHost, FlashLibPinned
from our_peers import (
    FaissFlash,
    FaissFlashCpu,
    FaissFlashEmeans,
    FaissFlashEmeansCpu,
    FaissFlashEmeansQuality,
    FaissFlashEmeansQualityCpu,
    FaissFlashFast,
    FaissFlashHost,
    FaissFlashPinned,
)
from peer import Peer, faiss_version
from suites import PASSES


class FaissCpu(Peer):
    where = "host"
    suites = ("cpu", "quality")
    own_blas = True

    def version(self):
        return faiss_version()

    def index(self, d):
        import faiss

        return faiss.IndexFlatL2(d)

    def fit(self, k, niter):
        import faiss

        x = self.x[0]
        clustering = faiss.Clustering(x.shape[1], k)
        clustering.niter = niter
        clustering.max_points_per_centroid = len(x)
        clustering.min_points_per_centroid = 1
        if self.initial is not None:
            faiss.copy_array_to_vector(self.initial[0].ravel(), clustering.centroids)
        self.found = self.index(x.shape[1])
        clustering.train(x, self.found)
        self.result = faiss.vector_to_array(clustering.centroids).reshape(k, -1)

    def centroids(self):
        return self.result

    def assign_rows(self, count):
        return self.found.search(self.x[0, :count], 1)[1].ravel()


class FaissGpu(FaissCpu):
    suites = ("call", "iteration", "train", "memory")
    own_blas = False
    resources = None  #: taken once, as users do: their memory takes a while to come

    def version(self):
        import faiss

        if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
            raise ImportError(f"faiss {faiss.__version__} sees no GPU")
        return faiss.__version__

    def index(self, d):
        import faiss

        self.resources = self.resources or faiss.StandardGpuResources()
        return faiss.GpuIndexFlatL2(self.resources, d)


class FaissSuperKmeans(FaissCpu):
    """FAISS's own faster class, from 1.14.2 on; prunes dimensions, exact up to rounding."""

    suites = ("cpu",)

    def version(self):
        import faiss

        if not hasattr(faiss, "SuperKmeans"):
            raise ImportError(f"faiss {faiss.__version__} has no SuperKmeans")
        return faiss_version()

    def fit(self, k, niter):
        import faiss

        x = self.x[0]
        kmeans = faiss.SuperKmeans(x.shape[1], k, niter=niter, seed=1)  # takes no first centroids
        kmeans.cp.max_points_per_centroid = len(x)
        kmeans.cp.min_points_per_centroid = 1
        kmeans.train(x)
        self.result = kmeans.centroids
        self.found = faiss.IndexFlatL2(x.shape[1])
        self.found.add(self.result)


class SuperKMeans(Peer):
    """The library of that name, flat and without its sampling and early ends."""

    where = "host"
    suites = ("cpu",)
    own_blas = True

    def version(self):
        import superkmeans

        return superkmeans.__version__

    def fit(self, k, niter):
        import superkmeans

        x = self.x[0]
        model = superkmeans.SuperKMeans(  # takes no first centroids
            k,
            x.shape[1],
            hierarchical=False,
            iters=niter,
            sampling_fraction=1.0,
            max_points_per_cluster=len(x),
            early_termination=False,
            tol=0.0,
        )
        self.found = model.train(x)
        self.model = model

    def centroids(self):
        return self.found

    def assign_rows(self, count):
        return self.model.assign(self.x[0, :count], self.found)


class ScikitLearn(Peer):
    where = "host"
    suites = ("cpu", "quality")
    own_blas = True

    def version(self):
        import sklearn

        return sklearn.__version__

    def fit(self, k, niter):
        from sklearn.cluster import KMeans

        options = {"n_init": 1, "max_iter": niter, "tol": 0, "algorithm": "lloyd"}
        self.model = KMeans(k, init=self.initial[0], **options).fit(self.x[0])

    def centroids(self):
        return self.model.cluster_centers_.astype("float32")

    def assign_rows(self, count):
        return self.model.predict(self.x[0, :count])


class ScikitLearnMiniBatch(Peer):
    where = "host"
    suites = ("quality",)
    iterations = PASSES

    def version(self):
        import sklearn

        return sklearn.__version__

    def fit(self, k, niter):
        from sklearn.cluster import MiniBatchKMeans

        options = {"n_init": 1, "max_iter": niter, "tol": 0, "max_no_improvement": None}
        self.model = MiniBatchKMeans(k, init=self.initial[0], **options).fit(self.x[0])

    def centroids(self):
        return self.model.cluster_centers_.astype("float32")

    def assign_rows(self, count):
        return self.model.predict(self.x[0, :count])


class FaissEmeans(Peer):
    """The class of FAISS's contrib/e_means.py, which no wheel has: FAISS_EMEANS names the file."""

    suites = ("quality",)
    iterations = PASSES
    operating_point = "throughput"

    def version(self):
        path = os.environ.get("FAISS_EMEANS")
        if not path:
            raise ImportError("the environment variable FAISS_EMEANS names no e_means.py")
        if self.where == "device" and not points.gpu():
            raise ImportError("torch has no GPU")
        spec = importlib.util.spec_from_file_location("faiss_e_means", path)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        return faiss_version()

    def fit(self, k, niter):
        d = self.x.shape[2]
        self.model = self.module.Emeans(d, k, niter=niter, operating_point=self.operating_point)
        self.model.train(self.x[0], init_centroids=self.initial[0])
        if self.where == "device":
            points.gpu().cuda.synchronize()

    def centroids(self):
        found = self.model.centroids
        return found if isinstance(found, np.ndarray) else found.cpu().numpy()

    def assign_rows(self, count):
        ids = self.model.assign(self.x[0, :count])[1]
        return ids if isinstance(ids, np.ndarray) else ids.cpu().numpy()


class FaissEmeansQuality(FaissEmeans):
    operating_point = "quality"


class FaissEmeansCpu(FaissEmeans):
    where = "host"


class FastKmeans(Peer):
    """Takes no first centroids: its own random ones."""

    where = "host"
    suites = ("call", "iteration", "train", "memory")

    def version(self):
        from importlib.metadata import version

        import fastkmeans  # noqa: F401

        if not points.gpu():
            raise ImportError("torch has no GPU")
        return version("fastkmeans")

    def fit(self, k, niter):
        from fastkmeans import FastKMeans

        self.model = FastKMeans(self.x.shape[2], k, niter=niter, tol=-1.0)
        self.model.train(self.x[0])

    def centroids(self):
        return np.asarray(self.model.centroids, dtype="float32")

    def assign_rows(self, count):
        return self.model.predict(self.x[0, :count])


class Cuvs(Peer):
    needs_first = True

    def version(self):
        from importlib.metadata import version

        import cuvs.cluster.kmeans  # noqa: F401

        return version("cuvs-cu13")

    def fit(self, k, niter):
        from cuvs.cluster.kmeans import KMeansParams, fit

        self.params = KMeansParams(
            n_clusters=k,
            init_method="Array",
            max_iter=niter,
            tol=1e-30,  # 0 is refused
            n_init=1,
        )
        self.found = self.initial[0].clone()
        fit(self.params, self.x[0], centroids=self.found)
        points.gpu().cuda.synchronize()

    def centroids(self):
        return self.found.cpu().numpy()

    def assign_rows(self, count):
        from cuvs.cluster.kmeans import predict

        return predict(self.params, self.x[0, :count].contiguous(), self.found)[0].copy_to_host()


class FastPytorchKmeans(Peer):
    suites = ("iteration", "latency", "memory")
    dtypes = ("f32", "f16")

    def version(self):
        from importlib.metadata import version

        import fast_pytorch_kmeans  # noqa: F401

        if not points.gpu():
            raise ImportError("torch has no GPU")
        return version("fast-pytorch-kmeans")

    def fit(self, k, niter):
        from fast_pytorch_kmeans import KMeans

        self.model = KMeans(k, max_iter=niter, tol=-1.0)
        self.model.fit(self.x[0], centroids=self.initial[0].clone())
        points.gpu().cuda.synchronize()

    def centroids(self):
        return self.model.centroids.float().cpu().numpy()

    def assign_rows(self, count):
        return self.model.predict(self.x[0, :count]).cpu().numpy()


PEERS = {
    "faiss_flash": FaissFlash,
    "faiss_flash (fast)": FaissFlashFast,
    "faiss_flash (host data)": FaissFlashHost,
    "faiss_flash (pinned host data)": FaissFlashPinned,
    "faiss_flash (CPU)": FaissFlashCpu,
    "faiss (GPU)": FaissGpu,
    "faiss (CPU)": FaissCpu,
    "faiss.SuperKmeans": FaissSuperKmeans,
    "SuperKMeans": SuperKMeans,
    "flash-kmeans": FlashKmeans,
    "FlashLib": FlashLib,
    "FlashLib [CuTe]": FlashLibCute,
    "FlashLib (host data)": FlashLibHost,
    "FlashLib (pinned host data)": FlashLibPinned,
    "fastkmeans": FastKmeans,
    "cuVS": Cuvs,
    "fast_pytorch_kmeans": FastPytorchKmeans,
    "scikit-learn": ScikitLearn,
    "faiss_flash e-means": FaissFlashEmeans,
    "faiss_flash e-means (quality)": FaissFlashEmeansQuality,
    "faiss_flash e-means (CPU)": FaissFlashEmeansCpu,
    "faiss_flash e-means (CPU, quality)": FaissFlashEmeansQualityCpu,
    "faiss e-means": FaissEmeans,
    "faiss e-means (quality)": FaissEmeansQuality,
    "faiss e-means (CPU)": FaissEmeansCpu,
    "scikit-learn MiniBatchKMeans": ScikitLearnMiniBatch,
}
