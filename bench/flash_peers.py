"""flash-kmeans and FlashLib, of the same authors, as peers (see peers.py)."""

import statistics

import points
from peer import FIT_KINDS, Peer


class FlashKmeans(Peer):
    """The Triton kernels; float32 points by its tf32 path."""

    kinds = (*FIT_KINDS, "assign", "update")
    batched = True
    dtypes = ("f32", "f16")

    def version(self):
        import flash_kmeans
        import triton

        return f"{flash_kmeans.__version__}, triton {triton.__version__}"

    def fit(self, k, niter):
        import torch
        from flash_kmeans import batch_kmeans_Euclid

        first = None if self.initial is None else self.initial.contiguous()
        _, self.found, _ = batch_kmeans_Euclid(
            self.x, k, max_iters=niter, tol=-1.0, init_centroids=first
        )
        torch.cuda.synchronize()

    def centroids(self):
        return self.found[0].float().cpu().numpy()

    def assign_rows(self, count):
        """All are assigned: for fewer, or with other norms, its kernel would be compiled anew."""
        norms = self._norms(self.x).to(self.x.dtype)  # as fit() has them
        return self._assign(self.x, self.found.contiguous(), norms)()[0, :count].cpu().numpy()

    @staticmethod
    def _norms(x):
        return points.gpu().stack([(row.float() ** 2).sum(-1) for row in x])

    @staticmethod
    def _assign(x, centroids, norms):
        """A call of the assignment kernel alone."""
        import torch
        from flash_kmeans.assign_euclid_triton import euclid_assign_triton

        centroid_norms = (centroids.float() ** 2).sum(-1)
        out = torch.empty(x.shape[:2], device="cuda", dtype=torch.int32)
        return lambda: euclid_assign_triton(x, centroids, norms, out, centroid_norms)

    def assign(self, case):
        x = points.make(case, "device")
        return _median_ms(self._assign(x, x[:, : case.k].contiguous(), self._norms(x)))

    def update(self, case):
        import torch
        from flash_kmeans.centroid_update_triton import triton_centroid_update_sorted_euclid

        x = points.make(case, "device")
        centroids = x[:, : case.k].contiguous()
        ids = torch.randint(0, case.k, x.shape[:2], device="cuda", dtype=torch.int32)
        return _median_ms(lambda: triton_centroid_update_sorted_euclid(x, ids, centroids))


def _median_ms(call, repeats=11):
    """Of the device's time, by events around each call."""
    import torch

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


class FlashLib(FlashKmeans):
    """By the authors of flash-kmeans: its Triton kernels, which it takes where CuTe is not
    installed; float32 points by their tf32 path."""

    kinds = FIT_KINDS
    backend = "triton"

    def version(self):
        import flashlib

        if not points.gpu():
            raise ImportError("torch has no GPU")
        return flashlib.__version__

    def fit(self, k, niter):
        from flashlib import flash_kmeans

        first = None if self.initial is None else self.initial.clone()  # it writes there
        _, self.found, _ = flash_kmeans(
            self._on_device(self.x),
            k,
            max_iters=niter,
            tol=0.0,
            init_centroids=first,
            backend=self.backend,
        )
        points.gpu().cuda.synchronize()

    def _on_device(self, x):
        return x if self.where == "device" else points.gpu().from_numpy(x).cuda()

    def assign_rows(self, count):
        from flashlib.primitives.kmeans import euclid_assign_triton

        ids = euclid_assign_triton(self._on_device(self.x), self.found)  # all: as above
        return ids[0, :count].cpu().numpy()


class FlashLibHost(FlashLib):
    """Host points, brought to the device once a call; its own way sends them in every iteration."""

    where = "host"
    suites = ("call",)
    batched = False
    dtypes = ("f32",)


class FlashLibPinned(FlashLibHost):
    pinned = True


class FlashLibCute(FlashLib):
    """Its CuTe kernels (the extra "cutedsl"), for the shapes that do not fall back to Triton."""

    kinds = ("call",)
    batched = False
    dtypes = ("f16",)
    backend = "cutedsl"

    def takes(self, case):
        return super().takes(case) and case.d % 16 == 0 and case.d <= 512

    def version(self):
        from importlib.metadata import version

        from flashlib._optional import has_cutedsl_sm90, require_cutedsl

        own = super().version()
        require_cutedsl("flash_kmeans")
        if not has_cutedsl_sm90():
            raise ImportError("its CuTe kernels run on Hopper only")
        return f"{own}, nvidia-cutlass-dsl {version('nvidia-cutlass-dsl')}"

    def prepare(self, case):
        super().prepare(case)
        self.fits = 0

    def fit(self, k, niter):
        from flashlib.primitives.kmeans.cutedsl import assign

        # It times its kernels and keeps the choice. The first run, beside other peers', is there to
        # compile them; the second is not counted either, and has the card for itself.
        if self.fits < 2:
            assign._autotune_cache.clear()
        self.fits += 1
        # It holds every array that a kernel has seen: the last call's would be allocated anew.
        assign._dlpack_cache.clear()
        super().fit(k, niter)
        if not assign._autotune_cache:
            raise RuntimeError("fell back to the Triton kernels")

    def assign_rows(self, count):
        return None  # would choose kernels for that many rows first

    def release(self):
        from flashlib.primitives.kmeans.cutedsl import assign

        assign._dlpack_cache.clear()
        super().release()
