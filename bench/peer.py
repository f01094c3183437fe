"""What a clustering that run.py measures must offer."""

import gc
import sys

import numpy as np
import points
from suites import LLOYD

FIT_KINDS = ("call", "iteration", "train", "latency", "memory")


class Peer:
    where = "device"  # its points, or "host"
    pinned = False  #: host points are page-locked
    needs_first = False  #: draws no first centroids of its own
    kinds = FIT_KINDS
    suites = ()  # those it takes part in; none: all but cpu
    iterations = LLOYD  #: of the suite quality
    batched = False
    dtypes = ("f32",)
    own_blas = False  #: an OpenBLAS inside, which chooses its kernels by the CPU

    def takes(self, case):
        in_suite = case.suite in self.suites if self.suites else case.suite != "cpu"
        return (
            in_suite
            and case.kind in self.kinds
            and case.where in ("", self.where)
            and case.dtype in self.dtypes
            and (case.batch == 1 or self.batched)
            and (case.suite != "quality" or case.niter in self.iterations)
        )

    def prepare(self, case):
        self.x = points.make(case, self.where)
        if self.pinned:
            self.x = points.gpu().from_numpy(self.x).pin_memory().numpy()
        draws = case.suite == "call" and not self.needs_first
        self.initial = None if draws else self.x[:, : case.k]

    def release(self):
        self.x = self.initial = None
        gc.collect()
        if points.gpu():
            points.gpu().cuda.empty_cache()

    def rows(self, count):
        """The first of the first problem, float32 on the host."""
        part = self.x[0, :count]
        return part if isinstance(part, np.ndarray) else part.float().cpu().numpy()


def faiss_version():
    """With the instruction sets in it: a distribution's generic build is not PyPI's."""
    import faiss

    module = next(name for name in sys.modules if name.startswith("faiss.swigfaiss"))
    build = f"{module.removeprefix('faiss.')}: {' '.join(faiss.get_compile_options().split())}"
    if hasattr(faiss, "SIMDConfig"):  # one build for several
        build += f", runs {faiss.SIMDConfig.get_level_name()}"
    return f"{faiss.__version__} ({build})"
